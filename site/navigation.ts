import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { pageOf } from './pages.ts';

const root = join(import.meta.dirname, '..');

/**
 * The four parts of the site, and the documents of each, in reading order. House tests check that no document
 * is missing.
 */
const tutorials = ['first-signed-pod', 'cluster-node', 'ci-gate', 'nginx-profile'].map(
  (name) => `docs/tutorials/${name}.md`,
);
const guides = [
  ...[
    'installation',
    'kubernetes',
    'kubelet',
    'troubleshooting',
    'kubelet-features',
    'kubeadm',
    'embedding',
    'signing',
    'ci-gate',
    'pipelines',
    'publishing',
    'policy-delivery',
    'cluster-policy',
    'image-files',
    'lazy-start',
    'air-gap',
    'editors',
    'trust-service',
    'fleet',
    'webhook',
    'node-image',
    'node-state',
    'proxy',
    'nri',
    'runtimes',
    'checkpoints',
    'containers-policy',
  ],
  ...[
    'network-policies',
    'services',
    'from-kube-proxy',
    'cluster',
    'overlay',
    'docker',
    'cnm',
    'entitlements',
  ],
].map((name) => `docs/${name}.md`);
const reference = [
  ...[
    'configuration',
    'policy',
    'profiles',
    'attestations',
    'tuf',
    'verdicts',
    'enforcement',
    'observability',
  ],
  ...[
    'networking',
    'cni-plugins',
    'image-limits',
    'exit-codes',
    'admin-api',
    'fleet-api',
    'trust-library',
    'entitlements-library',
  ],
].map((name) => `docs/${name}.md`);
const explanation = [
  ...[
    'docs/architecture.md',
    'docs/glossary.md',
    'docs/threat-model.md',
    'docs/guarantees.md',
    'docs/security-advisories.md',
  ],
  ...[
    'docs/performance.md',
    'docs/performance-history.md',
    'docs/dependencies.md',
    'docs/decisions/README.md',
    'CONTRIBUTING.md',
  ],
  ...['docs/test-suites.md', 'docs/releasing.md', 'SECURITY.md'],
];

export const documents: readonly string[] = [...tutorials, ...guides, ...reference, ...explanation];

export interface Item {
  readonly text: string;
  readonly link: string;
}

/**
 * Returns the navigation in the form that VitePress takes. `generated` are the pages that are made from the
 * sources.
 */
export function navigation(
  generated: readonly { readonly title: string; readonly items: readonly Item[] }[],
) {
  const itemsOf = (files: readonly string[]): Item[] =>
    files.map((file) => ({ text: titleOf(file), link: linkOf(pageOf(file)) }));
  const decisions = readdirSync(join(root, 'docs/decisions'))
    .filter((name) => /^\d/.test(name))
    .sort()
    .map((name) => `docs/decisions/${name}`);
  const sidebar = [
    { text: 'Tutorials', items: itemsOf(tutorials) },
    { text: 'How-to guides', items: itemsOf(guides) },
    {
      text: 'Reference',
      items: [
        ...itemsOf(reference),
        ...generated.map(({ title, items }) => ({ text: title, collapsed: true, items })),
      ],
    },
    {
      text: 'Explanation',
      items: [...itemsOf(explanation), { text: 'Each decision', collapsed: true, items: itemsOf(decisions) }],
    },
  ];
  const parts = [tutorials, guides, reference, explanation];
  const nav = sidebar.map(({ text }, index) => ({ text, link: itemsOf(parts[index] ?? [])[0]?.link ?? '/' }));
  return { nav, sidebar, decisions };
}

export function linkOf(page: string): string {
  return `/${page.replace(/(^|\/)index\.md$/, '$1').replace(/\.md$/, '')}`;
}

function titleOf(file: string): string {
  return (/^# (.+)$/m.exec(readFileSync(join(root, file), 'utf8'))?.[1] ?? file).replaceAll('`', '');
}
