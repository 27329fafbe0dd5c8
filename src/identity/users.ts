// Static users: a name and a password → what the user proves. A name that does not exist costs as much as one that does, and
// gets the same answer: nobody learns from here which names there are.
import { createHash } from 'node:crypto';
import { userAttributes } from '../config/identity.ts';
import type { PasswordHash } from '../config/password-hash.ts';
import type { User } from '../config/users-file.ts';
import type { Attributes } from '../policy/record.ts';
import { impossible, verifyPassword } from './password.ts';

export class Users {
  readonly #users: ReadonlyMap<string, User>;
  /** One for each user there is, so that the costs of the names that do not exist are spread as those of the names that do. */
  readonly #decoys: readonly PasswordHash[];

  constructor(users: readonly User[]) {
    this.#users = new Map(users.map((user) => [user.name, user]));
    this.#decoys = users.map(({ hash }) => impossible(hash));
  }

  get size(): number {
    return this.#users.size;
  }

  /** @returns what the user proves; null where name and password do not belong together */
  async verify(name: string, password: string): Promise<Attributes | null> {
    const user = this.#users.get(name);
    const hash = user?.hash ?? this.#decoy(name);
    if (hash === undefined) return null;
    const matches = await verifyPassword(password, hash);
    return matches && user !== undefined ? userAttributes(user) : null;
  }

  /** Always the same one for a name, or asking twice would tell. */
  #decoy(name: string): PasswordHash | undefined {
    const at = createHash('sha256').update(name).digest().readUInt32BE(0) % Math.max(1, this.#decoys.length);
    return this.#decoys[at];
  }
}
