import { ask, queryOf } from './api.ts';
import type { Verdict } from './api.ts';
import { element, timeText } from './dom.ts';

const rowHeight = 32;
const pageRows = 200;
/** Rows beyond the visible ones that are in the page. */
const margin = 10;
const header = ['Time', 'Node', 'Outcome', 'Namespace', 'Image'];

/** A list of verdicts of any length: only the visible rows are in the page. */
export interface Grid {
  readonly element: HTMLElement;
  /** Lists the verdicts that a filter matches. */
  show(filter: Readonly<Record<string, string>>): void;
}

/**
 * Creates a grid. The keys are those of the WAI-ARIA grid: arrows, Page Up and Down, Home, End, and Enter
 * opens.
 * @param onOpen called with the verdict of a row
 * @param onStatus called with a sentence about the shown rows
 * @param onError called when the API does not answer, and with undefined when the list asks again
 */
export function createGrid(
  onOpen: (verdict: Verdict) => void,
  onStatus: (text: string) => void,
  onError: (thrown: unknown) => void,
): Grid {
  const body = element('div', { class: 'rows', role: 'rowgroup' });
  const scroller = element(
    'div',
    {
      ...{ class: 'grid', role: 'grid', tabindex: '0', 'aria-label': 'Verdicts', 'aria-busy': 'false' },
      onscroll: () => draw(),
      onkeydown: (event) => pressed(event as KeyboardEvent),
    },
    headOf(),
    body,
  );
  let filter: Readonly<Record<string, string>> = {};
  let verdicts: Verdict[] = [];
  let next: string | undefined;
  let active = 0;
  let total: number | undefined;
  let request = new AbortController();
  let isLoading = false;

  function show(given: Readonly<Record<string, string>>): void {
    request.abort();
    request = new AbortController();
    [filter, verdicts, next, active, total, isLoading] = [given, [], undefined, 0, undefined, false];
    scroller.scrollTop = 0;
    void load();
    void count();
  }

  async function load(): Promise<void> {
    if (isLoading) return;
    isLoading = true;
    const { signal } = request;
    onError(undefined);
    scroller.setAttribute('aria-busy', 'true');
    try {
      const query = queryOf({ ...filter, most: String(pageRows), after: next ?? '' });
      const page = await ask<{ verdicts: readonly Verdict[]; next?: string }>(`verdicts?${query}`, signal);
      if (signal.aborted) return;
      verdicts = [...verdicts, ...page.verdicts];
      next = page.next;
      isLoading = false;
      scroller.setAttribute('aria-busy', 'false');
      draw();
      report();
    } catch (thrown) {
      if (signal.aborted) return;
      isLoading = false;
      scroller.setAttribute('aria-busy', 'false');
      onError(thrown);
    }
  }

  async function count(): Promise<void> {
    const { signal } = request;
    try {
      const { outcomes } = await ask<{ outcomes: Readonly<Record<string, number>> }>(
        `verdicts/count?${queryOf(filter)}`,
        signal,
      );
      total = Object.values(outcomes).reduce((sum, one) => sum + one, 0);
      report();
    } catch (thrown) {
      if (!signal.aborted) onError(thrown);
    }
  }

  function report(): void {
    if (total === undefined) return;
    scroller.setAttribute('aria-rowcount', String(total + 1));
    onStatus(`${total.toLocaleString('en')} ${total === 1 ? 'verdict' : 'verdicts'}`);
  }

  /** Draws the visible rows, and loads the next page at the end of the list. */
  function draw(): void {
    const first = Math.max(0, Math.floor(scroller.scrollTop / rowHeight) - margin);
    const shown = Math.ceil(scroller.clientHeight / rowHeight) + 2 * margin;
    const last = Math.min(verdicts.length, first + shown);
    body.style.height = `${verdicts.length * rowHeight}px`;
    body.replaceChildren(...verdicts.slice(first, last).map((one, index) => rowOf(one, first + index)));
    const current = document.getElementById(`row-${active}`);
    if (current === null) scroller.removeAttribute('aria-activedescendant');
    else scroller.setAttribute('aria-activedescendant', current.id);
    if (next !== undefined && last > verdicts.length - margin) void load();
  }

  function rowOf(verdict: Verdict, index: number): HTMLElement {
    return drawRow(verdict, index, index === active, () => {
      active = index;
      onOpen(verdict);
    });
  }

  function pressed(event: KeyboardEvent): void {
    const page = Math.max(1, Math.floor(scroller.clientHeight / rowHeight) - 2);
    const verdict = verdicts[active];
    if (event.key === 'Enter' && verdict !== undefined) return onOpen(verdict);
    const move = moveOf(event.key, page);
    if (move === undefined) return;
    event.preventDefault();
    active = Math.max(0, Math.min(verdicts.length - 1, active + move));
    const top = active * rowHeight;
    const height = scroller.clientHeight - 2 * rowHeight;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top > scroller.scrollTop + height) scroller.scrollTop = top - height;
    draw();
  }

  return { element: scroller, show };
}

/** Returns by how many rows a key moves the active row. */
function moveOf(key: string, page: number): number | undefined {
  const moves = new Map([
    ['ArrowDown', 1],
    ['ArrowUp', -1],
    ['PageDown', page],
    ['PageUp', -page],
    ['Home', -Infinity],
    ['End', Infinity],
  ]);
  return moves.get(key);
}

const headOf = (): HTMLElement =>
  element(
    'div',
    { class: 'head', role: 'rowgroup' },
    element(
      'div',
      { class: 'row', role: 'row' },
      ...header.map((one) => element('span', { role: 'columnheader' }, one)),
    ),
  );

function drawRow(verdict: Verdict, index: number, isActive: boolean, onClick: () => void): HTMLElement {
  const { time, node, outcome, namespace, reference, would } = verdict;
  const cell = (text: string, kind = ''): HTMLElement =>
    element('span', { role: 'gridcell', class: kind, title: text }, text);
  const row = element(
    'div',
    {
      ...{ class: 'row', role: 'row', id: `row-${index}` },
      ...{ 'aria-rowindex': String(index + 2), 'aria-selected': String(isActive) },
      onclick: onClick,
    },
    cell(timeText(time)),
    cell(node),
    cell(would === undefined ? outcome : `${outcome}, would ${would}`, `outcome ${would ?? outcome}`),
    cell(namespace),
    cell(reference),
  );
  row.style.transform = `translateY(${index * rowHeight}px)`;
  return row;
}
