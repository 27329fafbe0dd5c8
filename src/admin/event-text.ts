// Server-sent events from text (WHATWG HTML §9.2.6), as far as our own listener sends them: one line of each field, `\n` alone.
// Read so by `sallyport tail` and in the dashboard. PURE.

export interface ReadEvent {
  readonly id: string | null;
  readonly event: string;
  readonly data: string;
}

/** More than one record can have; a stream that sends it is none of ours. */
const EVENT_CHARS_MAX = 1_048_576;

/** The events of a stream's text, until it ends or breaks. @throws where an event is too long */
export async function* readEvents(text: AsyncIterable<string>): AsyncIterableIterator<ReadEvent> {
  let rest = '';
  for await (const part of text) {
    rest += part;
    for (let end = rest.indexOf('\n\n'); end >= 0; end = rest.indexOf('\n\n')) {
      const event = eventOf(rest.slice(0, end));
      rest = rest.slice(end + 2);
      if (event !== null) yield event;
    }
    if (rest.length > EVENT_CHARS_MAX) throw new Error('an event is too long');
  }
}

/** null for a comment, and for what has no data. */
function eventOf(block: string): ReadEvent | null {
  const fields = new Map<string, string>();
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).replace(/^ /, ''));
  }
  const data = fields.get('data');
  return data === undefined ? null : { id: fields.get('id') ?? null, event: fields.get('event') ?? 'message', data };
}
