// A password from the person or the pipe: asked for on a terminal without being shown, else the first line of standard input.
// It must never come from argv or the environment, which every process of the machine may read.
import { StringDecoder } from 'node:string_decoder';

const ENTER = /[\r\n]/;
const CTRL_C = '\u0003';
const CTRL_D = '\u0004';
const ERASE = /[\u007f\b]/;
/** More than any password; what is longer is a file on the wrong end of a pipe. */
const CHARACTERS_MAX = 4_096;

/** @returns the line without its end; null where the input ended or was interrupted before one came */
export async function readSecret(prompt: string, say: (text: string) => void): Promise<string | null> {
  const { stdin } = process;
  const hidden = stdin.isTTY === true;
  if (hidden) {
    say(prompt);
    stdin.setRawMode(true);
  }
  try {
    return await firstLine(stdin, hidden);
  } finally {
    if (hidden) {
      stdin.setRawMode(false);
      say('\n');
    }
    stdin.pause();
  }
}

async function firstLine(stdin: NodeJS.ReadStream, typed: boolean): Promise<string | null> {
  const decoder = new StringDecoder('utf8');
  let line = '';
  for await (const chunk of stdin.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    for (const character of decoder.write(chunk)) {
      if (ENTER.test(character)) return line;
      if (typed && character === CTRL_C) return null;
      if (typed && character === CTRL_D) return line === '' ? null : line;
      if (typed && ERASE.test(character)) line = line.slice(0, -1);
      else line += character;
      if (line.length > CHARACTERS_MAX) return line;
    }
  }
  return line === '' ? null : line;
}
