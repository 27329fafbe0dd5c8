// The body of an origin's answer on plain HTTP's short road, as it comes: how far it goes, and what of each read goes on to the client.
// PURE.
import type { Buffer } from 'node:buffer';

export interface AnswerBody {
  /** Bytes of data so far, without their framing. */
  readonly count: number;
  /** Whether nothing of it is to come. */
  readonly whole: boolean;
  /** Whether the connection that it came on is good for no other answer: something stood behind the body, or it had trailers. */
  readonly spoilt: boolean;
  /** Whether the client sees by itself where it ends, so that an orderly close before that shows that it is cut short. */
  readonly delimited: boolean;
  /** @param bytes one read, only lent. @returns what of it goes on, lent until the next call; null where it is malformed */
  take(bytes: Buffer): Buffer | null;
  /** The origin has ended its side. @returns what still goes on, a character a byte; null where the body is cut short by that */
  ended(): string | null;
}

/** One whose length is known. */
export class LengthBody implements AnswerBody {
  readonly delimited = true;
  count = 0;
  spoilt = false;
  readonly #length: number;

  constructor(length: number) {
    this.#length = length;
  }

  get whole(): boolean {
    return this.count === this.#length;
  }

  take(bytes: Buffer): Buffer {
    const left = this.#length - this.count;
    this.spoilt = bytes.length > left;
    const body = this.spoilt ? bytes.subarray(0, left) : bytes;
    this.count += body.length;
    return body;
  }

  ended(): null {
    return null;
  }
}
