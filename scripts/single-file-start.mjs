#!/usr/bin/env node
// Sallyport @VERSION@ in one file: the program and all that it needs, packed behind this text. The first start unpacks it into a folder of
// the user's cache; every start runs what is there. No import and no require, so that it runs under any name, in any folder.
// What is below is the start; scripts/single-file.mjs puts the rest behind it.
const SHA256 = '@SHA256@';

(() => {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const fail = (why, hint) => {
    process.stderr.write(`sallyport: error: ${why}\nhint: ${hint}\n`);
    process.exit(1);
  };
  if (major < 22 || (major === 22 && minor < 14))
    fail(`node-version: Node.js ${process.versions.node} is too old`, 'Sallyport needs 22.14 or later.');
  const fs = process.getBuiltinModule('node:fs');
  const { join, dirname } = process.getBuiltinModule('node:path');
  const { pathToFileURL } = process.getBuiltinModule('node:url');

  /** Whether nobody else may write into it. */
  const isOurs = (folder) => {
    const found = fs.lstatSync(folder);
    return found.isDirectory() && found.uid === process.getuid?.() && (found.mode & 0o022) === 0;
  };

  /** The packed files; throws where this file is not what was made. */
  const packed = () => {
    const { createHash } = process.getBuiltinModule('node:crypto');
    const { brotliDecompressSync } = process.getBuiltinModule('node:zlib');
    const text = fs.readFileSync(process.argv[1], 'latin1');
    const bytes = Buffer.from(text.slice(text.lastIndexOf('/*packed\n') + 9, text.lastIndexOf('\n*/')), 'base64');
    if (createHash('sha256').update(bytes).digest('hex') !== SHA256)
      fail(`${process.argv[1]} is damaged: its contents are not those it was made with`, 'Fetch it again.');
    const all = brotliDecompressSync(bytes);
    const start = 4 + all.readUInt32BE(0);
    return { index: JSON.parse(all.subarray(4, start).toString()), contents: all.subarray(start) };
  };

  const unpack = (folder) => {
    const part = `${folder}.${process.pid}.tmp`;
    const { index, contents } = packed();
    let at = 0;
    for (const [path, size, mode] of index) {
      const file = join(part, path);
      fs.mkdirSync(dirname(file), { recursive: true, mode: 0o755 });
      fs.writeFileSync(file, contents.subarray(at, at + size), { mode });
      at += size;
    }
    try {
      fs.renameSync(part, folder);
    } catch (error) {
      // Another process was quicker.
      fs.rmSync(part, { recursive: true, force: true });
      if (!fs.existsSync(folder)) throw error;
    }
  };

  /** Its folder in the first cache that can be had. The cache of a service is systemd's CacheDirectory=. */
  const place = () => {
    const { CACHE_DIRECTORY, XDG_CACHE_HOME, HOME } = process.env;
    const caches = [
      CACHE_DIRECTORY?.split(':')[0],
      XDG_CACHE_HOME && join(XDG_CACHE_HOME, 'sallyport'),
      HOME && join(HOME, '.cache', 'sallyport'),
    ].filter(Boolean);
    const problems = [];
    for (const cache of caches) {
      try {
        fs.mkdirSync(cache, { recursive: true, mode: 0o700 });
        if (!isOurs(cache)) throw new Error('others may write there');
        const folder = join(cache, SHA256.slice(0, 32));
        if (!fs.existsSync(folder)) unpack(folder);
        if (!isOurs(folder)) throw new Error('others may write there');
        return folder;
      } catch (error) {
        problems.push(`${cache}: ${error.code ?? error.message}`);
      }
    }
    const why = problems.join('; ') || 'neither HOME nor XDG_CACHE_HOME is set';
    return fail(`the program cannot be unpacked (${why})`, 'Let XDG_CACHE_HOME be a folder of your own.');
  };

  import(pathToFileURL(join(place(), 'dist', 'main.js')).href);
})();
