// Listens on a Unix socket in the file system. The socket is made beside its place and renamed onto it: what a dead process left
// there is replaced, an upgrade's new process takes the place over in one step, and the old one's end removes nothing of it.
import fs from 'node:fs';
import type net from 'node:net';

/** The owner and the group: who may connect still needs the token. */
const MODE = 0o660;

/**
 * @returns takes the file away where it is still ours
 * @throws Node's error, or where something else than a socket is there
 */
export async function listenOnFile(server: net.Server, file: string, backlog: number): Promise<() => void> {
  if (fs.lstatSync(file, { throwIfNoEntry: false })?.isSocket() === false)
    throw new Error(`${file} is there and is no socket`);
  const own = `${file}.${process.pid}`;
  fs.rmSync(own, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ path: own, backlog }, () => {
      server.removeListener('error', reject);
      resolve();
    });
  });
  try {
    fs.chmodSync(own, MODE);
    const { ino } = fs.statSync(own);
    fs.renameSync(own, file);
    return () => {
      if (fs.lstatSync(file, { throwIfNoEntry: false })?.ino === ino) fs.rmSync(file);
    };
  } catch (error) {
    server.close();
    throw error;
  }
}
