/** A room whose socket is lost. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Room } from "../src/net/socket.js";

/** How many sockets a room opens once its own is lost. @param {(room: Room) => void} before */
async function opened(before) {
  let count = 0;
  globalThis.WebSocket = /** @type {any} */ (
    class {
      constructor() {
        count++;
        queueMicrotask(() => this.onclose());
      }
      onclose() {}
    }
  );
  let lose = () => {};
  const replies = { take: () => new Promise((resolve) => (lose = () => resolve(null))) };
  const socket = /** @type {any} */ ({ replies, say() {}, close() {} });
  const room = new Room("ws://server.example", socket, { room: "room", token: "token" });
  before(room);
  lose();
  await new Promise(setImmediate);
  room.leave();
  return count;
}

test("is opened again, unless nothing more is needed from the server", async () => {
  assert.equal(await opened(() => {}), 1);
  assert.equal(await opened((room) => room.settle()), 0);
});
