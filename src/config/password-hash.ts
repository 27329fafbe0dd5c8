// A scrypt hash as one text (PHC string format): `$scrypt$ln=15,r=8,p=1$SALT$HASH`, base64 without padding. PURE.
// Only parameters that are neither cheap to guess nor a way to eat the memory are taken; hashing is identity/password.ts.

export interface PasswordHash {
  /** log2 of the cost N. */
  readonly ln: number;
  readonly r: number;
  readonly p: number;
  /** base64. */
  readonly salt: string;
  /** base64. */
  readonly hash: string;
}

export const PASSWORD_HASH_FORM = '$scrypt$ln=15,r=8,p=1$SALT$HASH';

const FORM = /^\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]{11,86})\$([A-Za-z0-9+/]{22,86})$/;
/** 128 × r × 2^ln bytes: 16 MiB is what guessing must cost at least, 128 MiB what one log-in may take. */
const MEMORY_BITS = { min: 24, max: 27 } as const;
const R_MAX = 32;
const P_MAX = 4;

/** @returns the parts, or one sentence that says what is wrong and repeats nothing of the text */
export function parsePasswordHash(text: string): { readonly hash: PasswordHash } | { readonly problem: string } {
  const match = FORM.exec(text);
  if (match === null) return { problem: 'the password hash is not a scrypt hash' };
  const [, ln = '', r = '', p = '', salt = '', hash = ''] = match;
  const parts = { ln: Number(ln), r: Number(r), p: Number(p), salt, hash };
  const memoryBits = parts.ln + Math.log2(parts.r) + 7;
  if (parts.r < 1 || parts.r > R_MAX || parts.p < 1 || parts.p > P_MAX || memoryBits > MEMORY_BITS.max)
    return { problem: `the password hash asks for too much work (ln=${parts.ln}, r=${parts.r}, p=${parts.p})` };
  if (memoryBits < MEMORY_BITS.min)
    return { problem: `the password hash is too cheap to guess (ln=${parts.ln}, r=${parts.r}, p=${parts.p})` };
  return { hash: parts };
}

export function formatPasswordHash({ ln, r, p, salt, hash }: PasswordHash): string {
  return `$scrypt$ln=${ln},r=${r},p=${p}$${salt}$${hash}`;
}
