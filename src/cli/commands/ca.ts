// `sallyport ca …`: makes the CA of inspection, shows it, and replaces it in two steps, so that no client meets a CA which it does not
// trust yet: first the new certificate goes into the bundle beside the old one, and only when clients have that does the new key count.
import type { KeyObject } from 'node:crypto';
import { existsSync, renameSync, writeFileSync } from 'node:fs';
import { type OperatorErrorCode, SallyportError } from '../../errors.ts';
import { type CaCertificate, newCa, newKey, readBundle, readKey, readPassphrase } from '../../inspect/ca.ts';
import type { Names } from '../../inspect/certificate.ts';
import { parsePattern } from '../../policy/pattern.ts';
import { inert } from '../../report/inert.ts';
import { textTable } from '../../report/text-table.ts';
import { EXIT } from '../args.ts';
import { type CaPlace, caPlace } from '../ca-place.ts';
import { type Input, usage } from '../input.ts';
import type { Ui, World } from '../ui.ts';
import { writeWhole } from '../write-whole.ts';

const DAYS = { default: 365, min: 1, max: 3_650 } as const;
const UNWRITABLE: OperatorErrorCode = 'file-unwritable';
const BUNDLE = { mode: 0o644, code: UNWRITABLE } as const;

/** The key of a rotation waits here until it is activated. */
const nextKey = (place: CaPlace): string => `${place.key}.next`;

export function caInit(input: Input, ui: Ui, world: World): number {
  const place = caPlace(input, world.now());
  const names = namesOf(input, place);
  const days = daysOf(input);
  const given = input.flag('existing-key');
  for (const file of given ? [place.cert] : [place.cert, place.key]) if (existsSync(file)) throw exists(file);
  const made = given ? null : newKey(passphraseOf(place));
  const key = made?.key ?? readKey(place.key, place.passphraseFile);
  if (made) writeNew(place.key, made.pem, 0o600);
  writeNew(place.cert, newCa(key, names, world.now(), days), 0o644);
  show(readBundle(place.cert, key), place, ui, world.now());
  if (!ui.json) {
    ui.line(`  clients must trust ${inert(place.cert)}: sallyport env --for shell, git, java, docker …`);
    ui.line(`  the proxy signs with ${inert(place.key)}: keep it on this host, out of backups that others read`);
  }
  return EXIT.ok;
}

export function caShow(input: Input, ui: Ui, world: World): number {
  const place = caPlace(input, world.now());
  // A bundle can be looked at where the key is not, on the host of an agent.
  const key = existsSync(place.key) ? readKey(place.key, place.passphraseFile) : null;
  const bundle = readBundle(place.cert, key);
  if (input.flag('pem')) ui.raw(bundle.map(({ certificate }) => certificate.toString()).join(''));
  else show(bundle, place, ui, world.now());
  const now = bundle.find(({ signs }) => signs) ?? bundle[0];
  return now !== undefined && Date.parse(now.certificate.validTo) > world.now() ? EXIT.ok : EXIT.failed;
}

export function caRotate(input: Input, ui: Ui, world: World): number {
  const place = caPlace(input, world.now());
  const nowMs = world.now();
  const key = readKey(place.key, place.passphraseFile);
  const bundle = readBundle(place.cert, key);
  const next = existsSync(nextKey(place)) ? readKey(nextKey(place), place.passphraseFile) : null;
  const ready = next !== null && bundle.some(({ certificate }) => certificate.checkPrivateKey(next));
  if (input.flag('activate')) {
    if (!ready) throw new SallyportError('inspection-ca', `no new CA waits beside ${inert(place.cert)}`, ROTATE_FIRST);
    activate(place, bundle, nowMs);
  } else {
    if (ready) throw new SallyportError('inspection-ca', `a new CA is in ${inert(place.cert)} already`, ACTIVATE);
    const coming = next ?? writeNextKey(place);
    const names = namesOf(input, place, bundle.find(({ signs }) => signs)?.names ?? null);
    writeBundle(place, [...living(bundle, nowMs), newCa(coming, names, nowMs, daysOf(input))]);
  }
  const after = readKey(place.key, place.passphraseFile);
  show(readBundle(place.cert, after), place, ui, nowMs);
  if (!ui.json && !input.flag('activate')) {
    ui.line(`  the proxy still signs with the old one. Give ${inert(place.cert)} to every client, then:`);
    ui.line('  sallyport ca rotate --activate');
  }
  return EXIT.ok;
}

const ROTATE_FIRST = { hint: '`sallyport ca rotate` makes one; give the bundle to clients before it is activated.' };
const ACTIVATE = { hint: 'Once clients trust it: `sallyport ca rotate --activate`.' };

function writeNextKey(place: CaPlace): KeyObject {
  const { key, pem } = newKey(passphraseOf(place));
  writeNew(nextKey(place), pem, 0o600);
  return key;
}

/** What has ended is taken out of the bundle; the old CA stays in it until then, for clients that still meet its leaves. */
function activate(place: CaPlace, bundle: readonly CaCertificate[], nowMs: number): void {
  writeBundle(place, living(bundle, nowMs));
  try {
    renameSync(nextKey(place), place.key);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code ?? 'unknown';
    throw new SallyportError(UNWRITABLE, `${inert(place.key)} cannot be replaced: ${why}`, { cause });
  }
}

function living(bundle: readonly CaCertificate[], nowMs: number): string[] {
  return bundle
    .filter(({ certificate, signs }) => signs || Date.parse(certificate.validTo) > nowMs)
    .map(({ certificate }) => certificate.toString());
}

function writeBundle(place: CaPlace, certificates: readonly string[]): void {
  writeWhole(place.cert, certificates.join(''), BUNDLE);
}

function passphraseOf({ passphraseFile }: CaPlace): string | null {
  return passphraseFile === null ? null : readPassphrase(passphraseFile);
}

/** Exact names, domains and addresses out of what was typed; else what the policy inspects; else what was there before. */
function namesOf(input: Input, place: CaPlace, before: Names | null = null): Names {
  const typed = input.arguments(0);
  if (typed.length === 0 && place.inspected.length === 0 && before !== null) return before;
  const names = { domains: new Set<string>(), addresses: new Set<string>() };
  for (const text of typed.length > 0 ? typed : place.inspected) {
    const parsed = parsePattern(text);
    if (!parsed.ok) throw usage(`${JSON.stringify(text)}: ${parsed.problem}`);
    const { kind, host } = parsed.pattern;
    (kind === 'address' ? names.addresses : names.domains).add(host);
  }
  if (names.domains.size + names.addresses.size > 0)
    return { domains: [...names.domains], addresses: [...names.addresses] };
  throw usage(
    'no name is given that the CA may stand for',
    'Name the inspected hosts (`sallyport ca init github.com "*.corp.example"`), or write `inspect: true` on a rule.',
  );
}

function daysOf(input: Input): number {
  const text = input.text('days');
  const days = text === null ? DAYS.default : Number(text);
  if (Number.isInteger(days) && days >= DAYS.min && days <= DAYS.max) return days;
  throw usage(`--days ${JSON.stringify(text)} is not a whole number from ${DAYS.min} to ${DAYS.max}`);
}

function writeNew(file: string, text: string, mode: number): void {
  try {
    // wx: fails where anything stands there, a dangling link included.
    writeFileSync(file, text, { flag: 'wx', mode, flush: true });
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code;
    if (why === 'EEXIST') throw exists(file);
    throw new SallyportError(UNWRITABLE, `${inert(file)} cannot be written: ${why ?? 'unknown'}`, { cause });
  }
}

function exists(file: string): SallyportError {
  return new SallyportError('inspection-ca', `${inert(file)} exists and is not overwritten`, {
    hint: 'Replace a CA with `sallyport ca rotate`; a key of your own is taken with --existing-key.',
  });
}

function show(bundle: readonly CaCertificate[], place: CaPlace, ui: Ui, nowMs: number): void {
  const shown = bundle.map(({ certificate, names, signs }) => {
    const ended = Date.parse(certificate.validTo) <= nowMs;
    return {
      subject: certificate.subject.replaceAll('\n', ', '),
      sha256: certificate.fingerprint256,
      until: new Date(certificate.validTo).toISOString(),
      names: names === null ? null : [...names.domains, ...names.addresses],
      state: ended ? 'ended' : signs ? 'signs' : 'trusted',
    };
  });
  if (ui.json) return ui.object({ cert: place.cert, key: place.key, certificates: shown });
  const rows = shown.map(({ state, until, names, sha256 }) => [
    state,
    until.slice(0, 10),
    names === null ? 'every name: not constrained' : names.join(' '),
    sha256,
  ]);
  ui.raw(
    textTable(['state', 'until', 'stands for (and names below)', 'SHA-256'], rows, { width: ui.width, right: [] }),
  );
}
