// The second place as a folder, mostly of another machine: a file is written under another name, forced to the disk, read back, renamed.
import fs from 'node:fs';
import path from 'node:path';
import { SallyportError } from '../errors.ts';
import { conflict, contentHash, type SecondPlace } from './second-place.ts';

export class FolderPlace implements SecondPlace {
  readonly name: string;

  constructor(dir: string) {
    this.name = dir;
  }

  async folders(): Promise<string[]> {
    await fs.promises.mkdir(this.name, { recursive: true, mode: 0o750 });
    const entries = await fs.promises.readdir(this.name, { withFileTypes: true });
    return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).sort();
  }

  async list(folder: string): Promise<ReadonlySet<string>> {
    const at = path.join(this.name, folder);
    await fs.promises.mkdir(at, { recursive: true, mode: 0o750 });
    return new Set(await fs.promises.readdir(at));
  }

  async read(folder: string, name: string): Promise<string | null> {
    try {
      return await fs.promises.readFile(path.join(this.name, folder, name), 'utf8');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
      throw error;
    }
  }

  async write(folder: string, name: string, text: string): Promise<void> {
    await fs.promises.mkdir(path.join(this.name, folder), { recursive: true, mode: 0o750 });
    const part = this.part(folder, name);
    await fs.promises.writeFile(part, text, { mode: 0o640, flush: true });
    await fs.promises.rename(part, path.join(this.name, folder, name));
  }

  part(folder: string, name: string): string {
    return path.join(this.name, folder, `${name}.part-${process.pid}`);
  }

  async put(folder: string, name: string, part: string, sha256: string): Promise<void> {
    const place = path.join(this.name, folder, name);
    try {
      if ((await contentHash(part)) !== sha256)
        throw new SallyportError('ship-failed', `${place} does not come back as it was written`);
      if (!fs.existsSync(place)) return await fs.promises.rename(part, place);
      if ((await contentHash(place).catch(() => null)) !== sha256) throw conflict(place);
    } finally {
      fs.rmSync(part, { force: true });
    }
  }
}
