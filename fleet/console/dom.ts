/** Attributes of an element, and listeners by `on` and the name of the event. */
type Attributes = Readonly<Record<string, string | ((event: Event) => void)>>;

/** A child of an element. A text stays a text, whatever it contains. */
export type Child = Node | string;

/** Creates an element. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes))
    if (typeof value === 'string') made.setAttribute(key, value);
    else made.addEventListener(key.replace(/^on/u, ''), value);
  made.append(...children);
  return made;
}

/** Creates a link to a view of the console. */
export const link = (view: string, text: string): HTMLAnchorElement =>
  element('a', { href: `#/${view}` }, text);

/** Creates a list of names and values. */
export function facts(values: readonly (readonly [name: string, value: Child])[]): HTMLElement {
  return element(
    'dl',
    {},
    ...values.flatMap(([name, value]) => [element('dt', {}, name), element('dd', {}, value)]),
  );
}

/** Creates a table with a caption. */
export function table(
  caption: string,
  header: readonly string[],
  rows: readonly (readonly Child[])[],
): HTMLElement {
  if (rows.length === 0)
    return element('section', {}, element('h2', {}, caption), element('p', {}, 'There is none.'));
  return element(
    'div',
    { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    element(
      'table',
      {},
      element('caption', {}, caption),
      element('thead', {}, element('tr', {}, ...header.map((one) => element('th', { scope: 'col' }, one)))),
      element(
        'tbody',
        {},
        ...rows.map((row) => element('tr', {}, ...row.map((cell) => element('td', {}, cell)))),
      ),
    ),
  );
}

/** Creates a heading that gets the focus when its view is shown. */
export const title = (text: string): HTMLElement => element('h1', { tabindex: '-1' }, text);

/** Writes a time for a reader: without the `T`, to the second, in UTC. */
export const timeText = (iso: string): string => `${iso.slice(0, 19).replace('T', ' ')} UTC`;
