/** The name of a profile. */
const profileName = {
  type: 'string',
  pattern: '^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$',
  description: 'write 1 to 63 lower-case letters, digits, dots and dashes',
} as const;

/** Returns the schema of `metadata`, with further keywords for the text about the profile. */
export const metadataSchema = <Keywords extends object>(ofDescription: Keywords) =>
  ({
    type: 'object',
    additionalProperties: false,
    required: ['name'],
    properties: {
      name: profileName,
      description: { type: 'string', maxLength: 4096, ...ofDescription },
    },
  }) as const;
