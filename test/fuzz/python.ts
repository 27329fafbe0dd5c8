// Asks the system's own parsers through python3, where it is there: one process, a line of JSON each way.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createInterface } from 'node:readline';

/** False where the machine has no python3: the differential against it is left out then. */
export const HAS_PYTHON =
  spawnSync('python3', ['-c', 'import socket, ipaddress, ssl, json'], { timeout: 60_000 }).status === 0;

export class Python {
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  /** `body` is the Python source of `answer(question)`, which gives back something that is JSON. */
  constructor(body: string) {
    const loop =
      'import sys, json\nfor line in sys.stdin:\n    print(json.dumps(answer(json.loads(line))), flush=True)\n';
    this.#child = spawn('python3', ['-c', `${body}\n${loop}`], { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#answers = createInterface({ input: this.#child.stdout! })[Symbol.asyncIterator]();
  }

  async ask<T>(question: unknown): Promise<T> {
    this.#child.stdin!.write(`${JSON.stringify(question)}\n`);
    const { value, done } = await this.#answers.next();
    if (done) throw new Error('python3 ended');
    return JSON.parse(value) as T;
  }

  close(): void {
    this.#child.stdin!.end();
  }
}
