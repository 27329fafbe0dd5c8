// The boot script of the Elastic CI Stack, run as root in an /etc of its own (a mount namespace), with a stand-in for `aws` alone.
import { createHash } from 'node:crypto';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run } from '../support/proxy-process.ts';
import { tempDir, writeFile } from '../support/temp.ts';
import { canMount } from '../support/tmpfs.ts';
import { DEPLOY } from './manifests.ts';

const SCRIPT = join(DEPLOY, 'buildkite', 'elastic-ci-stack', 'bootstrap.sh');
const PLUGIN = join(DEPLOY, 'buildkite', 'plugin');
const STACK_HOOK = '#!/usr/bin/env bash\necho "the hook of the stack"\n';

/** A machine with the stack's own hook, and the script as an operator has filled it in. */
async function instance(change: (text: string) => string = (text) => text, stackHook = STACK_HOOK) {
  const dir = tempDir('stack');
  const archive = join(dir, 'plugin.tar.gz');
  const packed = await run(['tar', '-czf', archive, '-C', PLUGIN, '.']);
  expect(packed.code, packed.stderr).toBe(0);
  const sum = createHash('sha256').update(readFileSync(archive)).digest('hex');
  const text = readFileSync(SCRIPT, 'utf8').replace(/^sha256=0{64}$/m, `sha256=${sum}`);
  expect(text).toContain(sum);
  const aws = `#!/bin/sh\n[ "$1 $2 $3 $4" = "s3 cp --only-show-errors s3://your-bucket/sallyport-plugin.tar.gz" ] && cp ${archive} "$5"\n`;
  chmodSync(writeFile(join(dir, 'bin', 'aws'), aws), 0o755);
  const script = writeFile(join(dir, 'bootstrap.sh'), change(text));
  const hook = writeFile(join(dir, 'environment'), stackHook);
  const boot = (then: string) =>
    run([
      ...['unshare', '--mount', 'sh', '-euc'],
      `mount -t tmpfs tmpfs /etc
mkdir -p /etc/buildkite-agent/hooks
cp ${hook} /etc/buildkite-agent/hooks/environment
PATH=${join(dir, 'bin')}:$PATH
${then.replaceAll('boot', `bash ${script}`)}`,
    ]);
  return boot;
}

describe.skipIf(!canMount())('the boot script', () => {
  it('adds our hooks once to those of the stack, for root alone to change', async () => {
    const boot = await instance();
    const done = await boot(
      'umask 077; boot; boot; cd /etc/buildkite-agent; head -v hooks/*; find . -perm /022; ls . sallyport; stat -c "%u %a" sallyport/lib/common.bash',
    );
    expect(done.code, done.stderr).toBe(0);
    const line = (name: string) => `. /etc/buildkite-agent/sallyport/hooks/${name}\n`;
    const heads = [
      `==> hooks/environment <==\n${STACK_HOOK}${line('environment')}`,
      `==> hooks/pre-bootstrap <==\n#!/usr/bin/env bash\n${line('pre-bootstrap')}`,
      `==> hooks/pre-exit <==\n#!/usr/bin/env bash\n${line('pre-exit')}`,
    ];
    expect(done.stdout).toBe(
      `${heads.join('\n')}.:\nhooks\nsallyport\n\nsallyport:\nREADME.md\nhooks\nlib\nplugin.yml\nsallyport.conf.example\n0 644\n`,
    );
  });

  it('leaves hooks that run: the stack’s, then ours', async () => {
    const boot = await instance();
    const done = await boot('boot; bash /etc/buildkite-agent/hooks/environment');
    expect(done.code, done.stderr).toBe(0);
    expect(done.stdout).toContain('the hook of the stack');
    expect(done.stderr).toContain('sallyport: ');
  });

  it('does not join its line to a last one without an end', async () => {
    const boot = await instance((text) => text, STACK_HOOK.trimEnd());
    const done = await boot('boot; boot; cat /etc/buildkite-agent/hooks/environment');
    expect(done.code, done.stderr).toBe(0);
    expect(done.stdout).toBe(`${STACK_HOOK}. /etc/buildkite-agent/sallyport/hooks/environment\n`);
  });

  it('changes nothing where the archive is another one', async () => {
    const boot = await instance((text) => text.replace(/^sha256=./m, 'sha256=x'));
    const done = await boot('boot && exit 9; find /etc -type f; ls /etc/buildkite-agent');
    expect([done.code, done.stdout]).toEqual([0, '/etc/buildkite-agent/hooks/environment\nhooks\n']);
  });
});
