/**
 * Draws the output of a command as a terminal window in SVG: `sh packaging/node site/recording.ts 'portcullis
 * quickstart' < OUTPUT > docs/images/quickstart.svg`. OUTPUT keeps its colours: record it with script(1), for
 * example `script -qec 'stty cols 96; packaging/bin/portcullis quickstart' /dev/null`.
 */
import { text as textOf } from 'node:stream/consumers';

interface Style {
  readonly colour: string;
  readonly bold: boolean;
}

interface Run extends Style {
  readonly text: string;
}

const plain: Style = { colour: '#d6deeb', bold: false };
/** Select Graphic Rendition (ECMA-48, section 8.3.117): the colours that the commands use. */
const colours: Readonly<Record<number, string>> = {
  2: '#8796a8',
  31: '#ff7b72',
  32: '#7ee787',
  33: '#e3b341',
  36: '#79c0ff',
  39: plain.colour,
};

const columnWidth = 8.43;
const lineHeight = 19;
const margin = 18;
const titleBar = 34;

function styled({ colour, bold }: Style, codes: string): Style {
  let style: Style = { colour, bold };
  for (const code of codes.split(';').map(Number)) {
    if (code === 0) style = plain;
    else if (code === 1) style = { ...style, bold: true };
    else style = { ...style, colour: colours[code] ?? style.colour };
  }
  return style;
}

/**
 * Returns the lines that a terminal shows in the end. The last text of a line that was written several times
 * counts.
 */
export function shownLines(output: string): readonly (readonly Run[])[] {
  let style = plain;
  return output.split(/\r?\n/u).map((line) => {
    const runs: Run[] = [];
    // "\r ESC [ 2 K" begins the line again.
    const last = line.split('\r\u001b[2K').at(-1) ?? '';
    for (const [index, part] of last.split(/\u001b\[([\d;]*)m/u).entries()) {
      if (index % 2 === 1) style = styled(style, part);
      else if (part !== '') runs.push({ ...style, text: part });
    }
    return runs;
  });
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');

/** Draws the lines below a prompt with the command. */
export function drawTerminal(command: string, lines: readonly (readonly Run[])[]): string {
  const prompt: readonly Run[] = [
    { colour: '#7ee787', bold: false, text: '# ' },
    { ...plain, bold: true, text: command },
  ];
  const all = [prompt, ...lines];
  const columns = Math.max(...all.map((runs) => runs.reduce((sum, { text }) => sum + text.length, 0)));
  const width = Math.ceil(columns * columnWidth + 2 * margin);
  const height = titleBar + all.length * lineHeight + margin;
  const rows = all.map((runs, index) => {
    const spans = runs.map(
      ({ colour, bold, text }) =>
        `<tspan fill="${colour}"${bold ? ' font-weight="bold"' : ''}>${escaped(text)}</tspan>`,
    );
    return `<text x="${margin}" y="${titleBar + (index + 1) * lineHeight - 5}" xml:space="preserve">${spans.join('')}</text>`;
  });
  const buttons = ['#ff5f57', '#febc2e', '#28c840'].map(
    (colour, index) => `<circle cx="${margin + 4 + index * 20}" cy="17" r="6" fill="${colour}"/>`,
  );
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escaped(command)}">`,
    `<rect width="${width}" height="${height}" rx="9" fill="#0d1420"/>`,
    ...buttons,
    `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="14">`,
    ...rows,
    '</g>',
    '</svg>',
    '',
  ].join('\n');
}

if (import.meta.main) {
  const lines = shownLines((await textOf(process.stdin)).trim());
  process.stdout.write(drawTerminal(process.argv[2] ?? 'portcullis', lines));
}
