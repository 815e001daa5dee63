"""What Prometheus reads of the HTTP layer; the names are those of the platform's alerts and dashboards.

Labels come from the table of routes and from fixed words, never from what a client sent, so that nobody can
grow the number of series.
"""

from prometheus_client import Counter, Histogram

REQUESTS = Counter("http_requests", "HTTP requests answered.", ["method", "route", "status"])
DURATION_S = Histogram(
    "http_request_duration_seconds",
    "Time from the request's head to its answer.",
    ["route"],
    buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LOGIN_ATTEMPTS = Counter("login_attempts", "Logins asked for.")
LOGIN_FAILURES = Counter("login_failures", "Logins refused, by reason.", ["reason"])
AUTH_FAILURES = Counter("auth_failures", "Requests with a token that proves nothing, by reason.", ["reason"])
REGISTRATIONS = Counter("registrations", "Accounts made by their owners.", ["role"])
COMMANDS = Counter("http_commands", "Commands taken over HTTP, by answer.", ["code"])
