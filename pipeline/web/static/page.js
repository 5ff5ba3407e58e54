// What a page does beyond links and forms: files, keys, copying. Without it search works as well.
"use strict";
(() => {
  const root = document.body.dataset.root;
  const say = (text) => {
    const status = document.getElementById("said");
    if (status) status.textContent = text;
  };

  // A file that is dropped, pasted or chosen is searched by at once.
  const searchBy = async (file) => {
    document.body.classList.add("busy");
    say(`Searching by ${file.name || "the image"}`);
    try {
      const answer = await fetch(`${root}/files`, {
        method: "POST",
        body: file,
        headers: { "Content-Type": "application/octet-stream" },
      });
      const said = await answer.json();
      if (!answer.ok) throw new Error(said.error);
      const chosen = new URLSearchParams(location.search).getAll("modality");
      const query = new URLSearchParams([["file", said.file], ...chosen.map((m) => ["modality", m])]);
      location.assign(`${root}/?${query}`);
    } catch (error) {
      document.body.classList.remove("busy");
      tell(error.message);
    }
  };

  const tell = (text) => {
    document.querySelector(".notice[data-told]")?.remove();
    const notice = document.createElement("div");
    notice.className = "notice";
    notice.dataset.told = "";
    notice.setAttribute("role", "alert");
    notice.append(Object.assign(document.createElement("p"), { textContent: text }));
    document.querySelector("form.search")?.after(notice);
  };

  const field = document.querySelector(".search .file");
  if (field) {
    field.hidden = false;
    const input = field.querySelector("input");
    input.addEventListener("change", () => input.files.length && searchBy(input.files[0]));
    const drop = document.querySelector(".drop");
    const hasFile = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
    addEventListener("dragover", (event) => {
      if (!hasFile(event)) return;
      event.preventDefault();
      drop.hidden = false;
    });
    addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) drop.hidden = true;
    });
    addEventListener("drop", (event) => {
      drop.hidden = true;
      if (!hasFile(event)) return;
      event.preventDefault();
      if (event.dataTransfer.files.length) searchBy(event.dataTransfer.files[0]);
    });
    addEventListener("paste", (event) => {
      const file = event.clipboardData?.files[0];
      if (file) searchBy(file);
    });
  }

  // Keys: / to the field; arrows and n among the results, m for more like the one that has the focus.
  const items = () => [...document.querySelectorAll(".grid .item")];
  const below = (all, from, down) => {
    const here = all[from].getBoundingClientRect();
    const middle = here.left + here.width / 2;
    let best = -1;
    let least = Infinity;
    all.forEach((item, place) => {
      const there = item.getBoundingClientRect();
      const step = down ? there.top - here.top : here.top - there.top;
      if (step < 2) return;
      const far = step * 10 + Math.abs(there.left + there.width / 2 - middle);
      if (far < least) [best, least] = [place, far];
    });
    return best;
  };
  const moved = (key, all, from) => {
    if (from < 0) return 0;
    if (key === "ArrowRight" || key === "n") return from + 1;
    if (key === "ArrowLeft") return from - 1;
    return below(all, from, key === "ArrowDown");
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const typing = event.target.closest?.("input, select, textarea");
    if (typing) {
      if (event.key === "Escape") typing.blur();
      const leaves = event.key === "ArrowDown" && typing.type === "search";
      if (!leaves) return;
    }
    if (event.key === "/") {
      const search = document.querySelector("input[type=search]");
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
      return;
    }
    const all = items();
    const from = all.indexOf(document.activeElement);
    if (["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "n"].includes(event.key) && all.length) {
      const to = moved(event.key, all, from);
      if (!all[to]) return;
      event.preventDefault();
      all[to].focus();
      all[to].scrollIntoView({ block: "nearest" });
    } else if (event.key === "m" && from >= 0) {
      location.assign(all[from].dataset.more);
    }
  });

  // An image that cannot be shown leaves its words.
  addEventListener("error", (event) => {
    if (event.target instanceof HTMLImageElement) event.target.classList.add("gone");
  }, true);
  document.querySelectorAll("img").forEach((image) => {
    if (image.complete && !image.naturalWidth) image.classList.add("gone");
  });

  document.querySelectorAll("[data-copies]").forEach((button) => {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const code = button.parentElement.querySelector("code");
      try {
        await navigator.clipboard.writeText(code.textContent);
        button.textContent = "Copied";
      } catch {
        getSelection().selectAllChildren(code); // no clipboard: http by another name than localhost
        button.textContent = "Selected";
      }
    });
  });
})();
