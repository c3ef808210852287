/**
 * The service worker: answers requests for a download, and for what is looked at while it arrives, with
 * the bytes that the page hands it, and keeps nothing. Everything else goes to the server as ever.
 */

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** @typedef {{ port: MessagePort, name: string, size: number | undefined }} Download */

/** @typedef {{ port: MessagePort, contentType: string, size: number, answers: Map<number, (bytes: Uint8Array | undefined) => void> }} Preview */

/** The most that is asked of the page at once, in bytes. */
const STEP = 256 * 1024;

/** What can be looked at. @type {Map<string, Preview>} */
const previews = new Map();
let requests = 0;

/** Downloads that were announced and not yet asked for. @type {Map<string, Download>} */
const announced = new Map();

scope.addEventListener("install", () => scope.skipWaiting());
scope.addEventListener("activate", (event) => event.waitUntil(scope.clients.claim()));

scope.addEventListener("message", ({ data, ports: [port] }) => {
  if (data?.type === "preview" && port) return preview(data, port);
  if (data?.type !== "download" || !port) return;
  announced.set(data.id, { port, name: data.name, size: data.size });
  port.postMessage("ready");
});

scope.addEventListener("fetch", (event) => {
  const path = new URL(event.request.url).pathname;
  const look = new URL("preview/", scope.registration.scope).pathname;
  if (path.startsWith(look)) return event.respondWith(part(event.request, previews.get(path.slice(look.length).split("/")[0])));
  const start = new URL("download/", scope.registration.scope).pathname;
  if (!path.startsWith(start)) return;
  const [id] = path.slice(start.length).split("/");
  const download = announced.get(id);
  announced.delete(id);
  event.respondWith(download ? answer(download) : new Response("This download is over.\n", { status: 410 }));
});

/** @param {{ id: string, contentType: string, size: number }} announced @param {MessagePort} port */
function preview({ id, contentType, size }, port) {
  const answers = new Map();
  port.onmessage = ({ data: { request, bytes } }) => answers.get(request)?.(bytes);
  previews.set(id, { port, contentType, size, answers });
}

/** The range that a request asks for. @param {Request} request @param {Preview | undefined} preview */
function part(request, preview) {
  if (!preview) return new Response("There is nothing to look at.\n", { status: 410 });
  const range = /^bytes=(\d*)-(\d*)$/.exec(request.headers.get("Range") ?? "");
  const { size } = preview;
  const [, from, to] = range ?? ["", "0", ""];
  const start = from === "" ? Math.max(0, size - Number(to)) : Number(from);
  const end = from === "" || to === "" ? size : Math.min(Number(to) + 1, size);
  if (start >= end) return new Response(null, { status: 416, headers: { "Content-Range": `bytes */${size}` } });
  const headers = new Headers({
    "Content-Type": preview.contentType,
    "Content-Length": String(end - start),
    "Accept-Ranges": "bytes",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
  });
  if (range) headers.set("Content-Range", `bytes ${start}-${end - 1}/${size}`);
  return new Response(rangeOf(preview, start, end), { status: range ? 206 : 200, headers });
}

/** @param {Preview} preview @param {number} start @param {number} end */
function rangeOf({ port, answers }, start, end) {
  let at = start;
  return new ReadableStream({
    async pull(controller) {
      const request = ++requests;
      /** @type {Promise<Uint8Array | undefined>} */
      const asked = new Promise((resolve) => answers.set(request, resolve));
      port.postMessage({ request, start: at, most: Math.min(STEP, end - at) });
      const bytes = await asked;
      answers.delete(request);
      if (!bytes) return controller.error(new Error("it will not come"));
      at += bytes.length;
      controller.enqueue(bytes);
      if (at >= end) controller.close();
    },
  });
}

/** @param {Download} download */
function answer({ port, name, size }) {
  const headers = new Headers({
    "Content-Type": "application/octet-stream",
    "Content-Disposition": `attachment; filename*=UTF-8''${quoted(name)}`,
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "X-Content-Type-Options": "nosniff",
  });
  if (size !== undefined) headers.set("Content-Length", String(size));
  return new Response(streamOf(port), { headers });
}

/** Characters that RFC 8187 lets stand are fewer than those that a URL does. @param {string} name */
const quoted = (name) => encodeURIComponent(name).replace(/['()*]/g, (c) => `%${c.charCodeAt(0).toString(16)}`);

/** @param {MessagePort} port */
function streamOf(port) {
  return new ReadableStream(
    {
      start(controller) {
        port.onmessage = ({ data }) => {
          if (data.bytes) controller.enqueue(data.bytes);
          else if (data.end) controller.close();
          else controller.error(new Error("the transfer did not end well"));
        };
      },
      pull: () => port.postMessage("pull"),
      cancel: () => port.postMessage("cancel"),
    },
    // A few chunks ahead, so that the page does not wait for every one of them.
    new CountQueuingStrategy({ highWaterMark: 4 }),
  );
}
