// The dashboard's files as they were built: read once at the start, served by exact name, so that no path of a request ever
// touches the disk. They hold no data and need no token; what they show they ask the API for.
import fs from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};
const INDEX = '/index.html';
/** Vite names these by their content. */
const ASSETS = '/assets/';

interface Page {
  readonly type: string;
  readonly plain: Buffer;
  /** null where the build has none. */
  readonly gzip: Buffer | null;
}

export class Site {
  readonly #pages = new Map<string, Page>();

  /** @param folder the built files; where it is missing the site is empty */
  constructor(folder: string) {
    if (!fs.existsSync(folder)) return;
    for (const entry of fs.readdirSync(folder, { recursive: true, withFileTypes: true })) {
      const type = TYPES[path.extname(entry.name)];
      if (!entry.isFile() || type === undefined) continue;
      const file = path.join(entry.parentPath, entry.name);
      const gzip = fs.existsSync(`${file}.gz`) ? fs.readFileSync(`${file}.gz`) : null;
      const name = `/${path.relative(folder, file).split(path.sep).join('/')}`;
      this.#pages.set(name, { type, plain: fs.readFileSync(file), gzip });
    }
  }

  /** Answers a GET or HEAD of one of the files; false where there is none of that name. */
  serve(req: IncomingMessage, res: ServerResponse, pathname: string): boolean {
    if (req.method !== 'GET' && req.method !== 'HEAD') return false;
    const page = this.#pages.get(pathname === '/' ? INDEX : pathname);
    if (page === undefined) return false;
    const packed = page.gzip !== null && /\bgzip\b/.test(String(req.headers['accept-encoding'] ?? ''));
    const body = packed && page.gzip !== null ? page.gzip : page.plain;
    res.writeHead(200, {
      'Content-Type': page.type,
      'Content-Length': body.length,
      'Cache-Control': pathname.startsWith(ASSETS) ? 'public, max-age=31536000, immutable' : 'no-cache',
      Vary: 'Accept-Encoding',
      ...(packed ? { 'Content-Encoding': 'gzip' } : {}),
    });
    res.end(req.method === 'HEAD' ? undefined : body);
    return true;
  }
}
