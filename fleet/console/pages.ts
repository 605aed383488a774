import { element, link } from './dom.ts';
import type { Child } from './dom.ts';

/** Fields of a query. */
export type Fields = Readonly<Record<string, string>>;

const mostEntries = '1000';

/** Returns the query of the API for the page of a list that the address of a view names. */
export function pageQuery(address: URLSearchParams, fixed: Fields = {}): string {
  const fields = { most: mostEntries, ...Object.fromEntries(address), ...fixed };
  return new URLSearchParams(fields).toString();
}

/** Says how many entries a page of a list has, and whether it is the whole list. */
export function pageCaption(
  count: number,
  what: string,
  next: Fields | undefined,
  address: URLSearchParams,
): string {
  const entries = `${count} ${what}${count === 1 ? '' : 's'}`;
  if (address.has('after')) return next === undefined ? `The last ${entries}` : `The next ${entries}`;
  return next === undefined ? entries : `The first ${entries}`;
}

/**
 * Creates the links to the other pages of a list. A list of one page has none.
 * @param view name of the view in the address
 * @param next fields of the next page, as the API returns them; undefined for the last page
 * @param address fields of this page in the address of the view
 */
export function pageLinks(
  view: string,
  next: Fields | undefined,
  address: URLSearchParams,
): readonly Child[] {
  const first = new URLSearchParams(address);
  for (const field of ['after', 'afterId']) first.delete(field);
  const links = [
    ...(address.has('after') ? [link(`${view}?${first.toString()}`, 'First page')] : []),
    ...(next === undefined
      ? []
      : [
          link(
            `${view}?${new URLSearchParams({ ...Object.fromEntries(first), ...next }).toString()}`,
            'Next page',
          ),
        ]),
  ];
  return links.length === 0 ? [] : [element('nav', { 'aria-label': 'Pages' }, ...links)];
}
