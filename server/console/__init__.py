"""The pages of the server: what a person looks at, and what those pages are made of."""
