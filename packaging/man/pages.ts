import { exitCodesHelp } from '../../cli/output/exit-codes.ts';
import type { CommandNode } from '../../cli/completion/tree.ts';
import { commandPage, programPage } from './command-page.ts';
import { configPage } from './config-page.ts';

export interface ManualPage {
  /** Such as `man1/portcullis-sign.1`, below /usr/share/man. */
  readonly path: string;
  readonly text: string;
}

/**
 * Returns all manual pages.
 * @param release its version, its day (YYYY-MM-DD), and what the program is in one line
 */
export function manualPages(
  commands: readonly CommandNode[],
  release: { readonly version: string; readonly date: string; readonly description: string },
): readonly ManualPage[] {
  const page = (
    name: string,
    section: 1 | 5 | 8,
    write: (title: { name: string; section: 1 | 5 | 8; version: string; date: string }) => string,
  ): ManualPage => ({
    path: `man${section}/${name}.${section}`,
    text: write({ name, section, version: release.version, date: release.date }),
  });
  const daemon = commands.find(({ words }) => words[0] === 'daemon');
  return [
    page('portcullis', 1, (title) =>
      programPage(commands, { title, description: release.description, help: exitCodesHelp }),
    ),
    ...commands.map((node) =>
      page(`portcullis-${node.words.join('-')}`, 1, (title) =>
        commandPage(node, title, ['portcullis(1)', 'portcullisd(8)', 'portcullis-config(5)']),
      ),
    ),
    ...(daemon === undefined
      ? []
      : [
          page('portcullisd', 8, (title) =>
            commandPage(daemon, title, ['portcullis-config(5)', 'portcullis(1)', 'portcullis-setup(1)']),
          ),
        ]),
    page('portcullis-config', 5, configPage),
  ];
}
