/**
 * The tokens of a JSON text: what `JSON.parse` does not tell, namely how a number is spelt and that a name comes twice.
 * It checks no grammar: the text is one that `JSON.parse` has taken.
 */

/** A bracket, the quote that opens a string, or a whole number, `true`, `false` or `null`. */
const TOKEN = /[{}[\]"]|[^\s,:{}[\]"]+/g;

/** Reads a JSON text token by token; commas, colons and white space are passed over. */
export class Tokens {
  readonly #text: string;
  #at = 0;

  /** @param text one that `JSON.parse` has taken */
  constructor(text: string) {
    this.#text = text;
  }

  /** The next token, spelt as it is there; strings with their quotes. Empty at the end. */
  next(): string {
    TOKEN.lastIndex = this.#at;
    const found = TOKEN.exec(this.#text);
    if (found === null) return "";
    const end = found[0] === '"' ? this.#endOfString(found.index) : TOKEN.lastIndex;
    this.#at = end;
    return this.#text.slice(found.index, end);
  }

  /** Passes over the rest of the value that begins with this token. */
  skip(token: string): void {
    let depth = change(token);
    while (depth > 0) depth += change(this.next());
  }

  /** By searching, not by an expression: one that repeats a group needs stack for each escape of a long string. */
  #endOfString(start: number): number {
    const text = this.#text;
    let quote = text.indexOf('"', start + 1);
    while (quote >= 0) {
      let backslashes = 0;
      while (text.charAt(quote - 1 - backslashes) === "\\") backslashes += 1;
      if (backslashes % 2 === 0) return quote + 1;
      quote = text.indexOf('"', quote + 1);
    }
    return text.length;
  }
}

function change(token: string): number {
  if (token === "{" || token === "[") return 1;
  return token === "}" || token === "]" ? -1 : 0;
}
