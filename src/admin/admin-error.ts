// A request to the admin listener that is refused: a status, and a code of the registry. What the client sees is made of these
// alone; a library's message never is.
import type { OperatorErrorCode } from '../errors.ts';
import { OPERATOR_ERRORS } from '../errors.ts';

export class AdminError extends Error {
  readonly status: number;
  readonly code: OperatorErrorCode;
  readonly hint: string;

  constructor(status: number, code: OperatorErrorCode, message: string, hint: string = OPERATOR_ERRORS[code].hint) {
    super(message);
    this.name = 'AdminError';
    this.status = status;
    this.code = code;
    this.hint = hint;
  }
}
