// The JSON Schema of config/sallyport.yaml, for editors and for scripts/schema.ts.
// It must say no more than the zod shape does: what relates two keys is checked at load alone.
import { z } from 'zod';
import { FILE_SCHEMA } from './schema.ts';

/** The schema as the text of config/sallyport.schema.json. Draft 7: that is what YAML editors know. */
export function jsonSchemaText(): string {
  const { $schema, ...rest } = z.toJSONSchema(FILE_SCHEMA, { io: 'input', target: 'draft-7' });
  const schema = { $schema, title: 'Sallyport policy', description: 'config/sallyport.yaml', ...rest };
  return `${JSON.stringify(schema, null, 2)}\n`;
}
