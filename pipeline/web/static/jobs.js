// The page of jobs renews itself, where nobody is disturbed by it. Without it there is a link.
"use strict";
(() => {
  const EVERY = 5_000; // ms
  const SHARE = 20; // of the time that goes by, the part in which the database is asked
  const live = () => document.getElementById("live");
  let timer = 0;
  let began = 0;

  const wait = (ms) => {
    clearTimeout(timer);
    timer = setTimeout(renew, ms);
  };
  // What somebody has the focus in, marks, or is about to press stays as it is.
  const isInUse = () => {
    const [part, marked] = [live(), getSelection()];
    return (
      part.querySelector(":focus-visible, a:hover, button:hover") !== null ||
      (!marked.isCollapsed && part.contains(marked.anchorNode))
    );
  };
  const renew = () => {
    if (document.hidden) return; // begins again when it is seen
    if (isInUse()) return wait(EVERY);
    began = performance.now();
    live().dispatchEvent(new Event("refresh"));
  };

  let scrolled = [];
  const regions = () => [...live().querySelectorAll(".wide")];
  document.addEventListener("htmx:beforeSwap", () => {
    scrolled = regions().map((region) => region.scrollLeft);
  });
  document.addEventListener("htmx:afterSwap", () => {
    regions().forEach((region, place) => (region.scrollLeft = scrolled[place] ?? 0));
  });
  document.addEventListener("htmx:afterRequest", () => {
    wait(Math.max(EVERY, SHARE * (performance.now() - began)));
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) renew();
  });
  wait(EVERY);
})();
