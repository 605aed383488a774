import { Composer, Parser } from 'yaml';
import type { CST, Document as YamlDocument } from 'yaml';

/**
 * Parses YAML so that each comment keeps its depth. The parser of `yaml` takes all comments that follow a
 * collection for its own if one of them is indented as the collection is. Here, the comments from the first
 * one that is indented less belong to the collection around it. Errors are in the documents.
 */
export function parseWithComments(text: string): YamlDocument.Parsed[] {
  const tokens = [...new Parser().parse(text)];
  for (const token of tokens) {
    if (token.type !== 'document' || !isCollection(token.value)) continue;
    const outer = takeOuterComments(token.value);
    if (outer.length > 0) token.end = [...outer, ...(token.end ?? [])];
  }
  const composer = new Composer({ uniqueKeys: false, version: '1.2', prettyErrors: false });
  return [...composer.compose(tokens)] as YamlDocument.Parsed[];
}

type Collection = CST.BlockMap | CST.BlockSequence;

const isCollection = (token: CST.Token | null | undefined): token is Collection =>
  token?.type === 'block-map' || token?.type === 'block-seq';

const betweenItems: readonly string[] = ['comment', 'newline', 'space'];

/** Removes the comments at the end of a collection that are indented less than it, and returns them. */
function takeOuterComments(collection: Collection): CST.SourceToken[] {
  const items: CST.CollectionItem[] = collection.items;
  for (let index = 0; index < items.length; index++) {
    const value = items[index]?.value;
    if (!isCollection(value)) continue;
    const outer = takeOuterComments(value);
    if (outer.length === 0) continue;
    const next = items[index + 1];
    if (next === undefined) items.push({ start: outer });
    else next.start = [...outer, ...next.start];
  }
  const last = items.at(-1);
  if (last === undefined || last.key !== undefined || last.sep !== undefined || last.value !== undefined)
    return [];
  // An item without a value, such as `-`.
  if (!last.start.every(({ type }) => betweenItems.includes(type))) return [];
  const at = last.start.findIndex(({ type, indent }) => type === 'comment' && indent < collection.indent);
  if (at < 0) return [];
  const outer = last.start.splice(last.start[at - 1]?.type === 'space' ? at - 1 : at);
  if (last.start.length === 0) items.pop();
  return outer;
}
