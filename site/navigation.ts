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
/** Documents of one subject. */
interface Group {
  readonly title: string;
  readonly files: readonly string[];
}

const groupOf = (title: string, ...names: readonly string[]): Group => ({
  title,
  files: names.map((name) => `docs/${name}.md`),
});

const guides = [
  groupOf(
    'Install and run',
    ...['installation', 'kubernetes', 'kubelet', 'kubelet-features', 'kubeadm', 'embedding'],
    'troubleshooting',
  ),
  groupOf(
    'Sign and publish',
    ...['signing', 'ci-gate', 'pipelines', 'publishing', 'trust-service', 'air-gap'],
  ),
  groupOf(
    'Policies and profiles',
    ...['policy-delivery', 'cluster-policy', 'webhook', 'containers-policy', 'entitlements', 'editors'],
    'fleet',
  ),
  groupOf('Images and containers', 'image-files', 'lazy-start', 'checkpoints', 'runtimes', 'nri', 'proxy'),
  groupOf(
    'Networks',
    ...['network-policies', 'services', 'from-kube-proxy', 'cluster', 'overlay', 'docker', 'cnm'],
  ),
  groupOf('Nodes', 'node-image', 'node-state'),
];
const reference = [
  groupOf('Files that you write', 'configuration', 'policy', 'profiles', 'attestations', 'tuf'),
  groupOf('How the daemon works', 'verdicts', 'enforcement', 'observability', 'image-limits'),
  groupOf('Networks', 'networking', 'cni-plugins'),
  groupOf('Interfaces', ...['exit-codes', 'admin-api', 'fleet-api', 'trust-library', 'entitlements-library']),
];
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

const filesOf = (groups: readonly Group[]): string[] => groups.flatMap(({ files }) => files);

export const documents: readonly string[] = [
  ...tutorials,
  ...filesOf(guides),
  ...filesOf(reference),
  ...explanation,
];

export interface Item {
  readonly text: string;
  readonly link: string;
}

/** Pages of one subject, below a heading that closes. */
export interface ItemGroup {
  readonly text: string;
  readonly collapsed: boolean;
  readonly items: readonly Item[];
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
  const groupsOf = (groups: readonly Group[]): ItemGroup[] =>
    groups.map(({ title, files }) => ({ text: title, collapsed: false, items: itemsOf(files) }));
  const decisions = readdirSync(join(root, 'docs/decisions'))
    .filter((name) => /^\d/.test(name))
    .sort()
    .map((name) => `docs/decisions/${name}`);
  const sidebar: { readonly text: string; readonly items: readonly (Item | ItemGroup)[] }[] = [
    { text: 'Tutorials', items: itemsOf(tutorials) },
    { text: 'How-to guides', items: groupsOf(guides) },
    {
      text: 'Reference',
      items: [
        ...groupsOf(reference),
        ...generated.map(({ title, items }) => ({ text: title, collapsed: true, items })),
      ],
    },
    {
      text: 'Explanation',
      items: [...itemsOf(explanation), { text: 'Each decision', collapsed: true, items: itemsOf(decisions) }],
    },
  ];
  const parts = [tutorials, filesOf(guides), filesOf(reference), explanation];
  const nav = sidebar.map(({ text }, index) => ({ text, link: itemsOf(parts[index] ?? [])[0]?.link ?? '/' }));
  return { nav, sidebar, decisions };
}

export function linkOf(page: string): string {
  return `/${page.replace(/(^|\/)index\.md$/, '$1').replace(/\.md$/, '')}`;
}

function titleOf(file: string): string {
  return (/^# (.+)$/m.exec(readFileSync(join(root, file), 'utf8'))?.[1] ?? file).replaceAll('`', '');
}
