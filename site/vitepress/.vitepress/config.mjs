// Settings of VitePress. `npm run docs` writes the pages, and the navigation into pages/navigation.json, before VitePress reads this file.
import { readFileSync } from 'node:fs';
import { defineConfig } from 'vitepress';

const { nav, sidebar } = JSON.parse(
  readFileSync(new URL('../pages/navigation.json', import.meta.url), 'utf8'),
);

/** Anchors as the documents link to them: lower case, no punctuation, a dash for each space. */
const slugify = (text) =>
  text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-');

/** A portcullis: bars across a gate. */
const icon =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path fill="none" stroke="#3451b2" stroke-width="2" d="M3 15V1h10v14M8 1v14M3 5h10M3 10h10"/></svg>';

export default defineConfig({
  title: 'Portcullis',
  description: 'A container runtime for Kubernetes (CRI v1) that verifies each image before it pulls it',
  lang: 'en',
  // A browser asks for /favicon.ico if a page names no icon.
  head: [['link', { rel: 'icon', href: `data:image/svg+xml,${encodeURIComponent(icon)}` }]],
  srcDir: 'pages',
  outDir: '../dist',
  cacheDir: 'pages/.cache',
  cleanUrls: false,
  lastUpdated: false,
  metaChunk: true,
  // Nothing is loaded from another host: fonts are those of the system.
  useWebFonts: false,
  // The index of the search is one file.
  vite: { build: { chunkSizeWarningLimit: 4000 } },
  markdown: {
    // The documents are plain Markdown. A `<NAME>` or `{{ x }}` in them is text.
    html: false,
    attrs: { disable: true },
    // The default themes have comments and keywords below the contrast of 4.5 to 1 that WCAG 2.2 AA requires.
    theme: { light: 'github-light-high-contrast', dark: 'github-dark-high-contrast' },
    anchor: { slugify },
    languages: ['yaml', 'json', 'sh', 'console', 'ts', 'js', 'toml', 'ini'],
    config(md) {
      const fence = md.renderer.rules.fence;
      md.renderer.rules.fence = (tokens, index, ...rest) => {
        const { info, content } = tokens[index];
        if (info.trim() === 'mermaid')
          return `<Diagram code="${Buffer.from(content).toString('base64')}" />\n`;
        return fence(tokens, index, ...rest);
      };
      const text = md.renderer.rules.text;
      md.renderer.rules.text = (...all) => text(...all).replaceAll('{{', '&#123;&#123;');
    },
  },
  themeConfig: {
    nav,
    sidebar,
    outline: [2, 3],
    search: {
      provider: 'local',
      options: {
        _render: (source, env, md) => (env.frontmatter?.search === false ? '' : md.render(source, env)),
      },
    },
  },
});
