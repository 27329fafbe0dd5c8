// Shorthand over audit lines for tests.
import type { DecidedLine, EndedLine, Line } from '../../src/policy/record.ts';

export const decided =
  (host: string) =>
  (line: Line): line is DecidedLine =>
    line.event === 'decided' && line.host === host;
export const ended =
  (host: string) =>
  (line: Line): line is EndedLine =>
    line.event === 'ended' && line.host === host;
