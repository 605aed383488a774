import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { documents, navigation } from './navigation.ts';
import type { Item } from './navigation.ts';
import { openPages } from './pages.ts';
import { apiPages } from './reference/api.ts';
import { commandPages } from './reference/commands.ts';
import { errorPages, unexplainedCodes } from './reference/error-pages.ts';
import { errorCodes } from './reference/errors.ts';
import { metricsPage } from './reference/metrics.ts';
import { openProgram } from './reference/program.ts';
import { schemaPages } from './reference/schemas.ts';

const root = join(import.meta.dirname, '..');

/**
 * Writes all pages of the site into site/vitepress/pages, and returns their number without those that they
 * link to.
 */
export async function generate(): Promise<number> {
  const pages = openPages();
  const program = openProgram();
  const commands = await commandPages();
  const schemas = schemaPages();
  const codes = errorCodes(program);
  const unexplained = unexplainedCodes(codes);
  if (unexplained.length > 0)
    throw new Error(
      `error codes without a cause, a remedy or a meaning in errors.ts: ${unexplained.join(', ')}`,
    );
  const errors = errorPages(codes);
  const libraries = apiPages(program);
  for (const { name, text } of commands) pages.write(`reference/commands/${name}.md`, text);
  for (const { name, text } of schemas) pages.write(`reference/schemas/${name}.md`, text);
  for (const { name, text } of errors) pages.write(`reference/errors/${name}.md`, text);
  for (const { name, text } of libraries) pages.write(`reference/libraries/${name}.md`, text);
  pages.write('reference/metrics.md', await metricsPage());

  const items = (
    folder: string,
    list: readonly { readonly name: string; readonly title?: string }[],
  ): Item[] => list.map(({ name, title }) => ({ text: title ?? name, link: `/reference/${folder}/${name}` }));
  const { nav, sidebar, decisions } = navigation([
    { title: 'Commands', items: items('commands', commands) },
    { title: 'Schemas', items: items('schemas', schemas) },
    { title: 'Error codes', items: items('errors', errors) },
    { title: 'Metrics', items: [{ text: 'All metrics', link: '/reference/metrics' }] },
    { title: 'Libraries', items: items('libraries', libraries) },
  ]);
  for (const file of ['README.md', ...documents, ...decisions]) pages.add(file);
  pages.write(
    'index.md',
    home(pages.rewrite('README.md', summaryOf(readFileSync(join(root, 'README.md'), 'utf8'))), sidebar),
  );
  pages.write('navigation.json', JSON.stringify({ nav, sidebar }));
  return (
    documents.length +
    decisions.length +
    commands.length +
    schemas.length +
    errors.length +
    libraries.length +
    2
  );
}

type Sidebar = ReturnType<typeof navigation>['sidebar'];

/**
 * Returns the README as far as the home page has it: what Portcullis is, how to try it, and its main figures.
 */
const summaryOf = (readme: string): string => readme.slice(0, readme.indexOf('\n## Use it\n'));

function home(summary: string, sidebar: Sidebar): string {
  const links = (items: readonly Item[]): string =>
    items.map(({ text, link }) => `[${text}](${link})`).join(', ');
  const parts = sidebar.flatMap(({ text, items }) => [
    `- **${text}**: ${links(items.filter((item) => 'link' in item))}`.replace(/: $/, ''),
    // Groups that are closed in the menu are lists of names, which the menu finds.
    ...items.flatMap((item) =>
      'link' in item || item.collapsed ? [] : [`  - ${item.text}: ${links(item.items)}`],
    ),
  ]);
  return `${summary}\n## All pages\n\n${parts.join('\n')}\n`;
}
