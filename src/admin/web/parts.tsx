// Small pieces that every page uses: states (empty, loading, error), a copy button, a badge, a search box.
import type { ComponentChildren } from 'preact';
import { useState } from 'preact/hooks';
import type { Loaded } from './use.ts';

/** The data where it is there; else what is the matter. An old answer stays on the page while the next one fails. */
export function Answer<T>({
  of,
  children,
  what,
}: {
  readonly of: Loaded<T>;
  readonly what: string;
  readonly children: (data: T) => ComponentChildren;
}) {
  return (
    <>
      {of.error !== null && (
        <div class="note error" role="alert">
          <p>
            {of.error.message} {of.error.hint}
          </p>
          <button type="button" onClick={of.reload}>
            Try again
          </button>
        </div>
      )}
      {of.data === null && of.loading && (
        <p class="note" role="status">
          Loading {what} …
        </p>
      )}
      {of.data !== null && children(of.data)}
    </>
  );
}

export function Empty({ children }: { readonly children: ComponentChildren }) {
  return <p class="note">{children}</p>;
}

const SHOWN_MS = 1_500;

/** Copies; where the browser gives no clipboard, shows the text to be copied by hand. */
export function Copy({
  text,
  label,
  about,
}: {
  readonly text: string;
  readonly label: string;
  readonly about: string;
}) {
  const [state, setState] = useState<'idle' | 'copied' | 'shown'>('idle');
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(text);
      setState('copied');
      setTimeout(() => setState('idle'), SHOWN_MS);
    } catch {
      setState('shown');
    }
  };
  if (state === 'shown')
    return <input class="copy" readOnly value={text} aria-label={about} onFocus={(e) => e.currentTarget.select()} />;
  return (
    <button type="button" class="small" aria-label={`${label}: ${about}`} data-text={text} onClick={() => void copy()}>
      {state === 'copied' ? 'Copied' : label}
    </button>
  );
}

export function Badge({ state }: { readonly state: string }) {
  return <span class={`badge ${state}`}>{state}</span>;
}

export function Search({
  value,
  onChange,
  label,
}: {
  readonly value: string;
  readonly onChange: (text: string) => void;
  readonly label: string;
}) {
  return (
    <input
      type="search"
      placeholder={label}
      aria-label={label}
      value={value}
      onInput={(e) => onChange(e.currentTarget.value)}
    />
  );
}
