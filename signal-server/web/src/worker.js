/**
 * The service worker: answers the request for a download with the bytes that the page hands it, and
 * keeps nothing. Everything else goes to the server as ever.
 */

const scope = /** @type {ServiceWorkerGlobalScope} */ (/** @type {unknown} */ (self));

/** @typedef {{ port: MessagePort, name: string, size: number | undefined }} Download */

/** Downloads that were announced and not yet asked for. @type {Map<string, Download>} */
const announced = new Map();

scope.addEventListener("install", () => scope.skipWaiting());
scope.addEventListener("activate", (event) => event.waitUntil(scope.clients.claim()));

scope.addEventListener("message", ({ data, ports: [port] }) => {
  if (data?.type !== "download" || !port) return;
  announced.set(data.id, { port, name: data.name, size: data.size });
  port.postMessage("ready");
});

scope.addEventListener("fetch", (event) => {
  const path = new URL(event.request.url).pathname;
  const start = new URL("download/", scope.registration.scope).pathname;
  if (!path.startsWith(start)) return;
  const [id] = path.slice(start.length).split("/");
  const download = announced.get(id);
  announced.delete(id);
  event.respondWith(download ? answer(download) : new Response("This download is over.\n", { status: 410 }));
});

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
