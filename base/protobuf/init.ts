/**
 * The type of a value that can be encoded as a `T`: every field may be left out (proto3: absent is the
 * default value), and an int64 of nanoseconds may also be a number or a decimal string.
 */
export type Init<T> = T extends bigint
  ? bigint | number | string
  : T extends string | number | boolean | Uint8Array
    ? T
    : T extends readonly (infer Element)[]
      ? readonly Init<Element>[]
      : { readonly [Key in keyof T]?: Init<T[Key]> | undefined };
