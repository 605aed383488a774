import type { JsonReviver } from './reviver.ts';
import { endOfString } from './strings.ts';

/**
 * Reads JSON (RFC 8259) without passing a key to V8: this reader handles objects and arrays, and `JSON.parse`
 * reads each string, number and literal by itself. The result equals the result of `JSON.parse`: the last of
 * equal keys counts, and `__proto__` is an ordinary key. The caller bounds the nesting. Time and memory grow
 * with the length of the text.
 * @throws SyntaxError when the text is not JSON
 */
export function readEscapedKeys(text: string, reviver: JsonReviver | undefined): unknown {
  return new Reader(text, reviver).read();
}

/** A number, `true`, `false` or `null`, or other text in their position, which `JSON.parse` refuses. */
const wordHere = /[-+.\w]+/y;
const blanksHere = /[ \t\n\r]*/y;

class Reader {
  readonly #text: string;
  readonly #reviver: JsonReviver | undefined;
  #at = 0;

  constructor(text: string, reviver: JsonReviver | undefined) {
    this.#text = text;
    this.#reviver = reviver;
  }

  read(): unknown {
    const value = this.#value('');
    if (this.#at < this.#text.length) throw this.#unexpected();
    return value;
  }

  /** Reads a value and the whitespace around it. */
  #value(key: string): unknown {
    this.#skipBlanks();
    const character = this.#text[this.#at];
    let value: unknown;
    let source: string | undefined;
    if (character === '{') value = this.#object();
    else if (character === '[') value = this.#array();
    else {
      source = character === '"' ? this.#string() : this.#word();
      // eslint-disable-next-line no-restricted-properties -- neither objects nor arrays.
      value = JSON.parse(source);
    }
    this.#skipBlanks();
    return this.#reviver === undefined
      ? value
      : this.#reviver(key, value, source === undefined ? {} : { source });
  }

  #object(): object {
    const object: Record<string, unknown> = {};
    this.#at += 1;
    this.#skipBlanks();
    if (this.#take('}')) return object;
    do {
      this.#skipBlanks();
      if (this.#text[this.#at] !== '"') throw this.#unexpected();
      // eslint-disable-next-line no-restricted-properties -- a string.
      const key = JSON.parse(this.#string()) as string;
      this.#skipBlanks();
      if (!this.#take(':')) throw this.#unexpected();
      const value = this.#value(key);
      if (value === undefined) Reflect.deleteProperty(object, key);
      else if (key === '__proto__')
        Object.defineProperty(object, key, { value, configurable: true, enumerable: true, writable: true });
      else object[key] = value;
    } while (this.#take(','));
    if (!this.#take('}')) throw this.#unexpected();
    return object;
  }

  #array(): unknown[] {
    const array: unknown[] = [];
    this.#at += 1;
    this.#skipBlanks();
    if (this.#take(']')) return array;
    do array.push(this.#value(String(array.length)));
    while (this.#take(','));
    if (!this.#take(']')) throw this.#unexpected();
    return array;
  }

  #string(): string {
    const end = endOfString(this.#text, this.#at);
    const literal = this.#text.slice(this.#at, end + 1);
    this.#at = end + 1;
    return literal;
  }

  #word(): string {
    wordHere.lastIndex = this.#at;
    const word = wordHere.exec(this.#text)?.[0];
    if (word === undefined) throw this.#unexpected();
    this.#at += word.length;
    return word;
  }

  #skipBlanks(): void {
    blanksHere.lastIndex = this.#at;
    this.#at += blanksHere.exec(this.#text)?.[0].length ?? 0;
  }

  #take(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #unexpected(): SyntaxError {
    const found = this.#text[this.#at];
    return new SyntaxError(
      found === undefined
        ? 'Unexpected end of JSON input'
        : `Unexpected token ${JSON.stringify(found)} at position ${this.#at}`,
    );
  }
}
