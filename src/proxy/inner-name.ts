// The name by which the proxy is asked for itself (inner.ts). A file of its own, for who needs the name and none of the answering.

/** Never resolved and never dialled; exists for nobody else (RFC 6761 §6.4: .invalid). */
export const INNER_HOST = 'sallyport.invalid';
export const INNER_PORT = 80;
