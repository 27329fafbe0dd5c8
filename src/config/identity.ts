// How clients can prove who they are, as settings: users, and what else the file and the files it names say. PURE.
import type { Attributes } from '../policy/record.ts';
import type { Selector } from '../policy/selector.ts';
import { selectorMatches } from '../policy/selector.ts';
import type { User } from './users-file.ts';

/** Plain data that structured clone copies. */
export interface IdentitySettings {
  /** Files that were read for it, to be looked at for changes. */
  readonly files: readonly string[];
  readonly users: readonly User[];
}

export const NO_IDENTITY: IdentitySettings = { files: [], users: [] };

/** What a user proves. */
export function userAttributes(user: User): Attributes {
  return { ...user.attributes, user: user.name };
}

/** Whether somebody with credentials can be whom a selector asks for. */
export function provable({ users }: IdentitySettings, selector: Selector): boolean {
  return users.some((user) => selectorMatches(selector, userAttributes(user)));
}
