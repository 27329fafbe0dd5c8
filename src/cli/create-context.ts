// What the data plane works with, put together: the policy in force, who may prove what, names, slots and the registry of what is open.
import { randomBytes } from 'node:crypto';
import type { Logger } from 'pino';
import type { LoadedConfig } from '../config/load.ts';
import { ClientBook } from '../identity/identify.ts';
import { fetchKeys, type KeyRoad } from '../identity/key-fetch.ts';
import { Proofs, type SharedProofs } from '../identity/proofs.ts';
import { Inspector } from '../inspect/inspector.ts';
import type { Meter } from '../limits.ts';
import { createResolver } from '../net/resolve.ts';
import { Policy } from '../policy/decide.ts';
import { BoundedLog } from '../proxy/bounded-log.ts';
import type { DurableRecorder, ProxyContext } from '../proxy/context.ts';
import type { Engine } from '../proxy/engine.ts';
import { OpenRequests } from '../proxy/open-requests.ts';
import { Slots } from '../proxy/slots.ts';

/** @param parts.shared what workers know together; null in a process that serves alone */
export function createContext(parts: {
  loaded: LoadedConfig;
  log: Logger;
  recorder: DurableRecorder;
  meter: Meter;
  engine: Engine;
  shared: SharedProofs | null;
}): ProxyContext {
  const { loaded, log, recorder, meter, engine, shared } = parts;
  const { settings } = loaded;
  const boot = randomBytes(4).toString('hex');
  let requests = 0;
  const { limits } = settings;
  const bounded = new BoundedLog(log);
  const resolver = createResolver({ dns: settings.dns, limits, meter });
  const proofs = new Proofs({
    limits,
    meter,
    shared,
    fetchKeys: (place) => {
      const admits: KeyRoad['admits'] = (authority, address, ranges) => ctx.policy.admits(authority, address, ranges);
      return fetchKeys(place, { resolver, limits, meter, admits });
    },
    onProblem: (why) => bounded.warn({ why }, "the token issuer's keys cannot be fetched"),
  });
  const ctx: ProxyContext = {
    policy: new Policy(loaded.policy),
    book: new ClientBook(settings, settings.limits.clients_tracked_max),
    help: settings.help,
    plainHttp: settings.plainHttp,
    closing: false,
    draining: false,
    open: new OpenRequests(engine.tunnels),
    limits: settings.limits,
    meter,
    resolver,
    proofs,
    inner: null,
    recorder,
    inspector: new Inspector(),
    log: bounded,
    slots: new Slots(settings.limits, meter),
    tunnelsFull: () => {
      // The exchange that asks is counted already.
      if (engine.load <= settings.limits.tunnels_max) return false;
      meter.hit('tunnels_max');
      return true;
    },
    nextId: () => `${boot}-${(++requests).toString(36)}`,
  };
  return ctx;
}
