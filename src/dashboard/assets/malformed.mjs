// @ts-check
// The one error of reading files. It must say what is wrong, and where.

/** The file is not what it seems; the message says where and why. */
export class Malformed extends Error {}
