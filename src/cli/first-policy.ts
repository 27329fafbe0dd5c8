// Before the first start there is no policy to start with where it comes from a URL: it is fetched once, and without it nothing starts.
import type { Overrides } from '../config/load.ts';
import { readBytes } from '../config/load-file.ts';

/**
 * Fetches the first bundle where the file names a URL and none is there.
 * @throws SallyportError where it cannot be had, or is not good
 */
export async function firstPolicy(file: string | null, overrides: Overrides): Promise<void> {
  if (file === null) return;
  const { bytes } = readBytes(file);
  // Parsed here, ten thousand rules would leave their garbage on the data plane's heap for good; nearly no file has a source.
  if (!SOURCE_KEY.test(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1'))) return;
  const { firstBundle } = await import('./first-bundle.ts');
  await firstBundle(file, overrides);
}

/** No spelling of `policy.source` is without it; one with escapes is a load without a policy, which starts nothing. */
const SOURCE_KEY = /\bsource\b/;
