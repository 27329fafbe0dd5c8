// Which engine a start takes: what `engine:` of the policy file wants, and what is there.
import type { Settings } from '../config/config.ts';
import { SallyportError } from '../errors.ts';
import type { Limits, Meter } from '../limits.ts';
import type { Engine } from '../proxy/engine.ts';
import { JsEngine } from '../proxy/engine-js.ts';
import { NativeEngine } from '../proxy/engine-native.ts';
import { loadNative, type NativeLoaded } from '../proxy/native-binding.ts';

export interface Choice {
  readonly kind: Engine['kind'];
  /** Why `auto` does not take the native engine; null where it does, or where nobody wants it. */
  readonly instead: string | null;
  make(limits: Limits, meter: Meter): Engine;
}

/** @throws SallyportError `engine-unavailable` where the native engine is demanded and not there */
export function chooseEngine(wanted: Settings['engine'], load: () => NativeLoaded = loadNative): Choice {
  if (wanted === 'js') return js(null);
  const native = load();
  if (native.ok)
    return { kind: 'native', instead: null, make: (limits, meter) => new NativeEngine(native.module, limits, meter) };
  if (wanted === 'auto') return js(native.why);
  throw new SallyportError('engine-unavailable', `the native engine cannot be used: ${native.why}`);
}

function js(instead: string | null): Choice {
  return { kind: 'js', instead, make: (limits, meter) => new JsEngine(limits, meter) };
}
