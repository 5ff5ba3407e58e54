"""What families of models share whose weights are on this machine: files, the hub, devices."""
