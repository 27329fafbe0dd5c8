// Which sockets of a process the native engine has: its epoll lies within libuv's, and the kernel says what each of them watches. It is
// the one trace that a connection's road leaves outside the process.
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** Sockets in an epoll that another epoll watches; a listener is one of them. */
export function nativeSockets(pid: number): number {
  const folder = `/proc/${pid}`;
  const kinds = new Map(readdirSync(`${folder}/fd`).map((fd) => [fd, linkOf(`${folder}/fd/${fd}`)]));
  const watched = new Map<string, string[]>();
  for (const [fd, kind] of kinds) {
    if (kind !== 'anon_inode:[eventpoll]') continue;
    const lines = readFileSync(`${folder}/fdinfo/${fd}`, 'latin1').matchAll(/^tfd:\s*(\d+)/gm);
    watched.set(
      fd,
      Array.from(lines, ([, target = '']) => target),
    );
  }
  const inner = [...watched.values()].flat().filter((fd) => watched.has(fd));
  return inner.flatMap((fd) => watched.get(fd) ?? []).filter((fd) => kinds.get(fd)?.startsWith('socket:')).length;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    // It was closed meanwhile.
    return '';
  }
}
