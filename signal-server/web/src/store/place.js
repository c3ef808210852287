/** The folder of everything that is kept, in the browser's private one (OPFS): of the page, and of the worker that writes there. */
export const FOLDER = "kept";
