import { hasToken, keepToken, refusal, TokenMissing } from './api.ts';
import { element, title } from './dom.ts';
import type { Child } from './dom.ts';
import { createGrid } from './grid.ts';
import { compareView, policiesView, policyView, upcomingView } from './policies.ts';
import { alertsView, imagesView, imageView, nodesView, nodeView, verdictView } from './views.ts';

const main = document.querySelector('main') ?? document.body;
const status = document.getElementById('status') ?? document.body;

type View = (argument: string, query: URLSearchParams) => Promise<readonly Child[]>;

const views: Readonly<Record<string, View>> = {
  verdict: verdictView,
  node: nodeView,
  nodes: nodesView,
  images: imagesView,
  image: imageView,
  policies: policiesView,
  policy: policyView,
  compare: compareView,
  upcoming: upcomingView,
  alerts: alertsView,
};

/** Counts the views, so that a slow answer does not replace a later view. */
let shown = 0;

async function route(): Promise<void> {
  shown += 1;
  const mine = shown;
  const [path = '', query = ''] = location.hash.replace(/^#\//u, '').split('?');
  const [name = '', ...rest] = path.split('/');
  for (const anchor of document.querySelectorAll('nav a'))
    if (anchor.getAttribute('href') === `#/${name === '' ? 'verdicts' : name}`)
      anchor.setAttribute('aria-current', 'page');
    else anchor.removeAttribute('aria-current');
  const view = views[name];
  status.textContent = '';
  if (view === undefined) return showVerdicts();
  main.replaceChildren(element('p', { class: 'wait' }, 'Loading …'));
  try {
    const content = await view(decoded(rest.join('/')), new URLSearchParams(query));
    if (mine === shown) present(content);
  } catch (thrown) {
    if (mine === shown) failed(thrown);
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function present(content: readonly Child[]): void {
  main.replaceChildren(...content);
  const heading = main.querySelector('h1');
  document.title = `${heading?.textContent ?? ''} · Portcullis`;
  heading?.focus();
}

function failed(thrown: unknown): void {
  if (thrown instanceof TokenMissing) return askToken();
  present([title('Not available'), element('p', { role: 'alert' }, reasonOf(thrown))]);
}

const reasonOf = (thrown: unknown): string => (thrown instanceof Error ? thrown.message : String(thrown));

function askToken(): void {
  const input = element('input', { id: 'token', type: 'password', autocomplete: 'off', required: '' });
  present([
    title('Token'),
    ...(hasToken() ? [element('p', { role: 'alert' }, refusal)] : []),
    element(
      'form',
      {
        onsubmit: (event) => {
          event.preventDefault();
          keepToken(input.value.trim());
          void route();
        },
      },
      element('p', {}, element('label', { for: 'token' }, 'Token of a reader'), input),
      element('p', {}, 'It is kept until this tab is closed.'),
      element('button', { type: 'submit' }, 'Continue'),
    ),
  ]);
  input.focus();
}

/** Milliseconds without a further key before a search begins. */
const pauseMs = 120;

function showVerdicts(): void {
  const input = (name: string, label: string): readonly [HTMLElement, HTMLInputElement] => {
    const field = element('input', { id: name, name, type: 'search', autocomplete: 'off' });
    return [element('p', {}, element('label', { for: name }, label), field), field];
  };
  const select = (
    name: string,
    label: string,
    values: readonly (readonly [value: string, text: string])[],
  ): HTMLElement =>
    element(
      'p',
      {},
      element('label', { for: name }, label),
      element(
        'select',
        { id: name, name },
        ...values.map(([value, text]) => element('option', { value }, text)),
      ),
    );
  const mine = shown;
  const problem = element('p', { role: 'alert' });
  const grid = createGrid(
    ({ verdict }) => (location.hash = `#/verdict/${verdict}`),
    (text) => {
      if (mine === shown) status.textContent = text;
    },
    (thrown) => {
      if (mine !== shown) return;
      if (thrown instanceof TokenMissing) askToken();
      else problem.textContent = thrown === undefined ? '' : reasonOf(thrown);
    },
  );
  let timer: number | undefined;
  const form = element(
    'form',
    {
      ...{ class: 'filters', role: 'search', 'aria-label': 'Filter verdicts' },
      onsubmit: (event) => event.preventDefault(),
      oninput: () => {
        clearTimeout(timer);
        timer = setTimeout(list, pauseMs);
      },
    },
    input('image', 'Image or digest')[0],
    select('outcome', 'Outcome', [
      ['', 'any'],
      ['admit', 'admit'],
      ['deny', 'deny'],
      ['undecided', 'undecided'],
    ]),
    input('namespace', 'Namespace')[0],
    input('node', 'Node')[0],
    input('reason', 'Reason code')[0],
    select('would', 'Not enforced yet', [
      ['', 'any'],
      ['deny', 'would be denied'],
      ['undecided', 'would be undecided'],
    ]),
  );
  function list(): void {
    if (mine !== shown) return;
    const values = Object.fromEntries(
      [...new FormData(form)].map(([key, value]) => [key, typeof value === 'string' ? value : '']),
    );
    // A code has no lower-case letters.
    grid.show({ ...values, reason: (values['reason'] ?? '').trim().toUpperCase() });
  }
  present([title('Verdicts'), form, problem, grid.element]);
  list();
}

// The link would replace the view: its address is not the name of one.
document.querySelector('.skip')?.addEventListener('click', (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener('hashchange', () => void route());
void route();
