// All that the pages use of it.
export const io: (...options: any[]) => any;
