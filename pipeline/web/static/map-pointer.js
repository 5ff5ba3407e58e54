// The pointer and fingers on the map: they move it, zoom, draw a lasso, and point at items.
const MOVED = 4; // pixels, from which on it is no click
const NEAR = 12; // pixels around the pointer

// told: isLasso(), hovered(point, x, y), drawn(corners), enclosed(corners), moved(), clicked(point).
export const follow = (canvas, plane, told) => {
  const pressed = new Map(); // places of what is down, by its number
  let drag = null; // what was begun: {corners, x, y, moved}; corners of a lasso, or null

  const placeOf = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const pinch = () => {
    const [[x1, y1], [x2, y2]] = [...pressed.values()];
    return { x: (x1 + x2) / 2, y: (y1 + y2) / 2, far: Math.hypot(x1 - x2, y1 - y2) };
  };

  const down = (event) => {
    if (event.button > 0) return;
    canvas.setPointerCapture(event.pointerId);
    const [x, y] = placeOf(event);
    pressed.set(event.pointerId, [x, y]);
    const isLasso = pressed.size === 1 && (event.shiftKey || told.isLasso());
    drag = { corners: isLasso ? [] : null, x, y, moved: pressed.size > 1 };
    told.hovered(-1);
  };

  const move = (event) => {
    const [x, y] = placeOf(event);
    if (!pressed.has(event.pointerId)) {
      if (event.pointerType === "mouse") told.hovered(plane.nearest(x, y, NEAR), x, y);
      return;
    }
    const before = pressed.size > 1 ? pinch() : null;
    const [left, top] = pressed.get(event.pointerId);
    pressed.set(event.pointerId, [x, y]);
    if (Math.hypot(x - drag.x, y - drag.y) > MOVED) drag.moved = true;
    if (!drag.moved) return;
    if (before) {
      const now = pinch();
      plane.pan(now.x - before.x, now.y - before.y);
      plane.zoomAt(now.far / Math.max(before.far, 1), now.x, now.y);
    } else if (drag.corners) {
      drag.corners.push(...plane.toMap(x, y));
      told.drawn(drag.corners);
    } else {
      plane.pan(x - left, y - top);
    }
  };

  const up = (event) => {
    if (!pressed.delete(event.pointerId) || pressed.size) return;
    const [x, y] = placeOf(event);
    if (drag.corners) return told.enclosed(event.type === "pointerup" ? drag.corners : []);
    if (drag.moved || event.type !== "pointerup") return told.moved();
    // A finger has nothing to hover with: it sees the item first.
    const isMouse = event.pointerType === "mouse";
    const point = plane.nearest(x, y, isMouse ? NEAR : 2 * NEAR);
    if (!isMouse) told.hovered(point, x, y);
    else if (point >= 0) told.clicked(point);
  };

  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", (event) => {
    if (event.pointerType === "mouse") told.hovered(-1);
  });
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    told.hovered(-1);
    const pixels = event.deltaMode ? 16 * event.deltaY : event.deltaY;
    plane.zoomAt(Math.exp(-0.002 * pixels), ...placeOf(event));
    told.moved();
  }, { passive: false });
};
