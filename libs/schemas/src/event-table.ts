/** The event streams as a table for people, in Markdown: the generated part of docs/events.md. Pure. */
import { channelAddress } from './async-api.ts';
import type { Contracts } from './contracts.ts';

function eventTable(contracts: Contracts): string {
  const rows = contracts.resources().map((resource) => {
    const { entity, collection, message, verbs } = resource;
    const subject = channelAddress(entity)
      .replace('{owner}', '<owner>')
      .replace('{zone}', '<zone>')
      .replace('{id}', '<id>');
    return `| \`${entity}\` | \`${collection}/{uid}\` | \`${subject}\` | ${verbs.join(', ')} | \`${message}\` |`;
  });
  return ['| entity | resource name | subject | verbs | message |', '|---|---|---|---|---|', ...rows].join(
    '\n',
  );
}

const begin = '<!-- generated from the contracts: pnpm asyncapi docs -->';
const end = '<!-- end of the generated part -->';

/** The page with its generated part made anew. Throws Error where it has none. */
export function withEventTable(page: string, contracts: Contracts): string {
  const [from, to] = [page.indexOf(begin), page.indexOf(end)];
  if (from < 0 || to < from) throw new Error('the page has no generated part');
  return `${page.slice(0, from + begin.length)}\n${eventTable(contracts)}\n${page.slice(to)}`;
}
