// The disk of the usage store is really full: the counting says so and stops where it is, the log is the buffer, and with room again
// all of it is counted, once. The test mounts the disk itself and is skipped where it may not (no root).
import fs from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Projector } from '../../src/usage/projector.ts';
import { canMount, SmallDisk } from '../support/tmpfs.ts';
import { ScratchUsage, sumsOf } from '../support/usage.ts';

describe.skipIf(!canMount())('a store whose disk is full (needs root to mount)', () => {
  let disk: SmallDisk;
  beforeEach(() => {
    disk = new SmallDisk('24m');
  });
  afterEach(() => disk.unmount());

  it('says so, knows how far it is behind, and catches up with room again', async () => {
    const world = new ScratchUsage({ store: path.join(disk.directory, 'usage.db') });
    const projector = new Projector(world.options({ batchLines: 50 }));
    world.write(100);
    void world.log.stats;
    while ((await projector.step()).more);
    expect(projector.lag().bytes).toBe(0);
    disk.fill();
    const before = fs.statSync(world.file).size;
    // Hosts of their own, so that rows are added.
    for (let n = 0; n < 400; n++) world.write(5, `h${n}.example`);
    void world.log.stats;
    const failed = async (): Promise<unknown> => {
      for (let more = true; more; ) ({ more } = await projector.step());
      return null;
    };
    await expect(failed()).rejects.toMatchObject({
      code: 'store-unreadable',
      message: expect.stringContaining('full'),
    });
    expect(projector.lag().bytes).toBeGreaterThan((fs.statSync(world.file).size - before) / 2);
    await expect(failed()).rejects.toMatchObject({ code: 'store-unreadable' });
    disk.empty();
    await failed();
    expect(projector.lag().bytes).toBe(0);
    await projector.close();
    expect(await world.sums()).toMatchObject(sumsOf(2_100));
  });
});
