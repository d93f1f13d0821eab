// One WebSocket to a run: frames in, frames out; dropped without waiting for its close.

import { parseFrame } from "./exact.ts";

export type Frame = { type: string } & Record<string, unknown>;

export interface Listener {
  frame(frame: Frame): void;
  closed(code: number): void;
}

export interface Socket {
  send(frame: object | string): void;
  drop(): void;
}

export function openSocket(path: string, listener: Listener): Socket {
  const address = new URL(path, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, "djsci.v1");
  socket.onmessage = ({ data }) => listener.frame(parseFrame(data) as Frame);
  socket.onclose = ({ code }) => listener.closed(code);
  return {
    send: (frame) => {
      if (socket.readyState === WebSocket.OPEN)
        socket.send(typeof frame === "string" ? frame : JSON.stringify(frame));
    },
    // A close can hang for a minute (Daphne): nothing of this socket is heard any more.
    drop: () => {
      socket.onmessage = null;
      socket.onclose = null;
      socket.close();
    },
  };
}
