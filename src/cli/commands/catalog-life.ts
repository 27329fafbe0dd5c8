// `sallyport catalog diff|accept|bundle`: how the hosts behind the groups change, and only when somebody has accepted it. An update comes
// with a newer program, or as a signed file where no newer program is wanted.
import { createPublicKey } from 'node:crypto';
import { type Bundle, bundleText, filesDigest, isSignedBy, parseBundle, signBundle } from '../../catalog/bundle.ts';
import type { Catalog } from '../../catalog/catalog.ts';
import { type CatalogChange, catalogChanges } from '../../catalog/diff.ts';
import { catalogFiles, loadCatalog } from '../../catalog/load.ts';
import { keyName, readKey } from '../../catalog/signing-key.ts';
import { lockPath } from '../../config/load-beside.ts';
import { catalogKeys } from '../../config/load-here.ts';
import { lockOf } from '../../config/load-lock.ts';
import { SallyportError } from '../../errors.ts';
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { EXIT } from '../args.ts';
import { configFile } from '../config-file.ts';
import type { Input } from '../input.ts';
import { readText } from '../text-file.ts';
import type { Ui, World } from '../ui.ts';
import { writeWhole } from '../write-whole.ts';

const WRITTEN = { mode: 0o644, code: 'file-unwritable' } as const;

/** A catalog that may be accepted: the program's, or a file's. */
interface Offer {
  readonly from: string;
  readonly bundle: Bundle;
  readonly catalog: Catalog;
}

export function catalogDiff(input: Input, ui: Ui): number {
  const lock = lockOf(configFile(input));
  const accepted = loadCatalog([], lock ?? undefined);
  const offer = offered(input.argument(0));
  const changes = catalogChanges(accepted, offer.catalog);
  if (ui.json)
    ui.object({
      lock,
      accepted: { version: accepted.version },
      offered: { version: offer.bundle.version, digest: offer.bundle.digest, from: offer.from },
      changes,
    });
  else {
    ui.line(
      `accepted: ${inert(accepted.version)}${lock === null ? ', that of this program: there is no lock' : ` (${inert(lock)})`}`,
    );
    ui.line(`offered:  ${inert(offer.bundle.version)} (${inert(offer.from)}, ${offer.bundle.digest})`);
    showChanges(changes, ui);
  }
  return changes.length === 0 ? EXIT.ok : EXIT.changed;
}

export function catalogAccept(input: Input, ui: Ui, world: World): number {
  const config = configFile(input);
  const lock = lockOf(config);
  const offer = offered(input.argument(0));
  if (offer.from !== PROGRAM) mayBeAccepted(offer, config, input.text('digest'));
  else if (input.text('digest') !== null) sameDigest(offer, input.text('digest') ?? '');
  const before = loadCatalog([], lock ?? undefined);
  const changes = catalogChanges(before, offer.catalog);
  const { signature: _, ...unsigned } = offer.bundle;
  const accepted = { at: new Date(world.now()).toISOString(), by: world.user, from: offer.from };
  const file = lockPath(config);
  writeWhole(file, bundleText({ ...unsigned, accepted }), WRITTEN);
  if (ui.json) ui.object({ lock: file, version: offer.bundle.version, digest: offer.bundle.digest, changes });
  else {
    ui.line(`${inert(file)} pins catalog ${inert(offer.bundle.version)}.`);
    showChanges(changes, ui);
    ui.line('Commit it with the policy. A running proxy takes it over by itself, or with SIGHUP.');
  }
  return EXIT.ok;
}

export function catalogBundle(input: Input, ui: Ui): number {
  const file = input.argument(0) ?? '';
  const keyFile = input.text('key');
  const catalog = loadCatalog();
  const files = catalogFiles();
  const plain: Bundle = { format: 1, version: catalog.version, digest: filesDigest(files), files };
  const key = keyFile === null ? null : readKey(keyFile, readText(keyFile), 'private');
  writeWhole(file, bundleText(key === null ? plain : signBundle(plain, key)), WRITTEN);
  const signedBy = key === null ? null : keyName(createPublicKey(key));
  if (ui.json) ui.object({ written: file, version: plain.version, digest: plain.digest, key: signedBy });
  else {
    ui.line(`${inert(file)} holds catalog ${inert(plain.version)}.`);
    ui.line(`  digest ${plain.digest}`);
    ui.line(`  ${signedBy === null ? 'not signed: give --key' : `key    ${signedBy}`}`);
  }
  return EXIT.ok;
}

const PROGRAM = 'this program';

function offered(file: string | null): Offer {
  if (file === null) {
    const files = catalogFiles();
    const catalog = loadCatalog();
    return {
      from: PROGRAM,
      catalog,
      bundle: { format: 1, version: catalog.version, digest: filesDigest(files), files },
    };
  }
  const bundle = parseBundle(file, readText(file));
  const catalog = loadCatalog([], file);
  if (catalog.version !== bundle.version)
    throw new SallyportError('catalog-invalid', `${file} says version ${bundle.version}, its files ${catalog.version}`);
  return { from: file, bundle, catalog };
}

/** A file may come from anywhere: a key that the policy trusts has signed it, or the operator names the digest that was reviewed. */
function mayBeAccepted(offer: Offer, config: string, digest: string | null): void {
  if (digest !== null) return sameDigest(offer, digest);
  const keys = catalogKeys(config).map((file) => readKey(file, readText(file), 'public'));
  if (isSignedBy(offer.bundle, keys)) return;
  const why =
    offer.bundle.signature === undefined
      ? 'it is not signed'
      : keys.some((key) => keyName(key) === offer.bundle.signature?.key)
        ? 'its signature does not fit it'
        : `it is signed by ${offer.bundle.signature.key}, which catalog.keys does not name`;
  throw new SallyportError('catalog-unsigned', `${offer.from} is not accepted: ${why}`);
}

function sameDigest({ from, bundle }: Offer, digest: string): void {
  if (digest === bundle.digest) return;
  throw new SallyportError(
    'catalog-unsigned',
    `${from} is not accepted: its digest is ${bundle.digest}, not ${digest}`,
    {
      hint: 'Review it again: `sallyport catalog diff`.',
    },
  );
}

const SIGNS = { added: '+', removed: '-', changed: '~' } as const;

function showChanges(changes: readonly CatalogChange[], ui: Ui): void {
  if (changes.length === 0) return ui.line('no host is different');
  const rows = changes.map(({ kind, need, host, ports, group, entry, what }) => [
    SIGNS[kind],
    need,
    `${host}:${ports.join(',')}`,
    group,
    entry,
    what.join('; '),
  ]);
  ui.raw(
    textTable(
      ['', 'need', 'host', 'group', 'entry', 'change'],
      rows.map((row) => row.map(inert)),
      { width: ui.width, right: [] },
    ),
  );
}
