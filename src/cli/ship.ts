// The shipping of closed audit segments and of checkpoints as the policy file says it; what it did stands in the operational log.
import { readFileSync } from 'node:fs';
import type { Logger } from 'pino';
import { type Shipping, startShipping } from '../audit/shipping.ts';
import { readKey } from '../catalog/signing-key.ts';
import type { Settings } from '../config/config.ts';
import { placeText, type SignedPlace } from '../config/second-place.ts';
import { SallyportError } from '../errors.ts';
import type { Meter } from '../limits.ts';

/**
 * @returns null where neither `audit.ship` nor `audit.checkpoints` is given
 * @throws SallyportError `signing-key`, `ship-failed` where a key or certificates cannot be read: before anything is served
 */
export async function startShip(
  { audit, node, limits }: Settings,
  log: Logger,
  meter: Meter,
): Promise<Shipping | null> {
  const { file, ship, checkpoints } = audit;
  const given = [ship, checkpoints].filter((one) => one !== null);
  if (given.length === 0) return null;
  const { openPlace } = await import('../audit/open-place.ts');
  for (const { place } of given) openPlace(place, { file, limits, env: {}, now: () => new Date() });
  const to = given.map(({ place }) => placeText(place));
  return startShipping(
    { file, node, ship: ship && withKey(ship), checkpoints: checkpoints && withKey(checkpoints), limits },
    {
      onShipped: (names) => log.info({ names, to }, 'closed segments of the audit log were shipped'),
      onProblem: (why) =>
        why === null
          ? log.info({ to }, 'the audit log is shipped again')
          : log.error({ why, to }, 'closed segments of the audit log could not be shipped; they stay where they are'),
      onRosterFull: () => meter.hit('ship_roster_max'),
    },
  );
}

function withKey({ place, key }: SignedPlace): SignedPlaceData {
  return { place, key: key === null ? null : keyOf(key) };
}

type SignedPlaceData = { readonly place: SignedPlace['place']; readonly key: { file: string; pem: string } | null };

function keyOf(file: string): { file: string; pem: string } {
  try {
    const pem = readFileSync(file, 'utf8');
    readKey(file, pem, 'private');
    return { file, pem };
  } catch (cause) {
    if (cause instanceof SallyportError) throw cause;
    throw new SallyportError('signing-key', `${file} cannot be read: ${(cause as NodeJS.ErrnoException).code}`, {
      cause,
    });
  }
}
