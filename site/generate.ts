import { documents, linkOf, navigation } from './navigation.ts';
import type { Item } from './navigation.ts';
import { openPages } from './pages.ts';
import { apiPages } from './reference/api.ts';
import { commandPages } from './reference/commands.ts';
import { errorCodes, errorPages } from './reference/errors.ts';
import { metricsPage } from './reference/metrics.ts';
import { openProgram } from './reference/program.ts';
import { schemaPages } from './reference/schemas.ts';

/** Writes all pages of the site into site/vitepress/pages, and returns their number without those that they link to. */
export async function generate(): Promise<number> {
  const pages = openPages();
  const program = openProgram();
  const commands = await commandPages();
  const schemas = schemaPages();
  const errors = errorPages(errorCodes(program));
  const libraries = apiPages(program);
  for (const { name, text } of commands) pages.write(`reference/commands/${name}.md`, text);
  for (const { name, text } of schemas) pages.write(`reference/schemas/${name}.md`, text);
  for (const { name, text } of errors) pages.write(`reference/errors/${name}.md`, text);
  for (const { name, text } of libraries) pages.write(`reference/libraries/${name}.md`, text);
  pages.write('reference/metrics.md', await metricsPage());

  const items = (folder: string, list: readonly { readonly name: string; readonly title?: string }[]): Item[] =>
    list.map(({ name, title }) => ({ text: title ?? name, link: `/reference/${folder}/${name}` }));
  const { nav, sidebar, decisions } = navigation([
    { title: 'Commands', items: items('commands', commands) },
    { title: 'Schemas', items: items('schemas', schemas) },
    { title: 'Error codes', items: items('errors', errors) },
    { title: 'Metrics', items: [{ text: 'All metrics', link: '/reference/metrics' }] },
    { title: 'Libraries', items: items('libraries', libraries) },
  ]);
  for (const file of ['README.md', ...documents, ...decisions]) pages.add(file);
  pages.write('index.md', home(sidebar));
  pages.write('navigation.json', JSON.stringify({ nav, sidebar }));
  return documents.length + decisions.length + commands.length + schemas.length + errors.length + libraries.length + 2;
}

type Sidebar = ReturnType<typeof navigation>['sidebar'];

function home(sidebar: Sidebar): string {
  const parts = sidebar.map(({ text, items }) => {
    const links = items.flatMap((item) => ('link' in item ? [`- [${item.text}](${item.link})`] : []));
    return `## ${text}\n\n${links.join('\n')}`;
  });
  return `# Portcullis

Portcullis is a container runtime for Kubernetes (CRI v1). It runs an image only after your trust policy admits that image. [The README](${linkOf('source/index.md')}) describes it in one page.

${parts.join('\n\n')}
`;
}
